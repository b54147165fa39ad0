/* FF-A (DEN0077A) between processes: frames over Unix sockets, as edgeroot.abi.emulation describes them. */

#define _GNU_SOURCE
#include "world.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are sent as they lie in memory, which is to be little-endian"
#endif

#define FFA_ERROR 0x84000060u
#define FFA_VERSION 0x84000063u
#define FFA_PARTITION_INFO_GET 0x84000068u
#define FFA_ID_GET 0x84000069u
#define FFA_DIRECT_REQUEST 0x8400006fu
#define FFA_DIRECT_RESPONSE 0x84000070u
#define FFA_MEM_SHARE 0x84000073u
#define FFA_MEM_RECLAIM 0x84000077u
#define CHANNEL_OPEN 0x86000001u
#define VERSION_1_1 0x00010001u

enum { PAGE_BYTES = 4096, START_TRIES = 1000, START_WAIT_NS = 10000000 };

static const uint8_t ts_uuid[16] = {0xbd, 0xcd, 0x76, 0xd7, 0x82, 0x5e, 0x47, 0x51,
                                    0x96, 0x3b, 0x86, 0xd4, 0xf8, 0x49, 0x43, 0xac};

struct frame {
    uint32_t w[8];
    uint64_t tag;
};

struct partition_info {
    uint16_t id, contexts;
    uint32_t properties;
    uint8_t uuid[16];
};

struct sharing { /* a memory transaction descriptor of FF-A 1.1 with one receiver and one range */
    uint16_t sender, attributes;
    uint32_t flags;
    uint64_t handle, tag;
    uint32_t access_bytes, access_count, access_offset, zero[3];
    struct {
        uint16_t receiver;
        uint8_t permissions, flags;
        uint32_t composite_offset;
        uint64_t zero;
    } access;
    struct {
        uint32_t page_count, range_count;
        uint64_t zero, address;
        uint32_t range_page_count, zero_too;
    } composite;
};

_Static_assert(sizeof(struct frame) == 40 && sizeof(struct partition_info) == 24 && sizeof(struct sharing) == 96
                   && offsetof(struct sharing, access) == 48 && offsetof(struct sharing, composite) == 64,
               "the layouts have no gaps");

static struct {
    pthread_mutex_t lock; /* held until an answer comes */
    int socket;
    uint16_t own_id;
    uint64_t tag;
} manager = {PTHREAD_MUTEX_INITIALIZER, -1, 0, 0};

void *next_symbol(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        fprintf(stderr, "teebridge: the C library has no %s\n", name);
        abort();
    }
    return found;
}

/* How Linux's FF-A driver passes on the error in w2. */
static int errno_of(uint32_t code)
{
    static const int known[] = {0, EOPNOTSUPP, EINVAL, ENOMEM, EBUSY, EINTR, EACCES, EAGAIN, ECANCELED, ENODATA};
    uint32_t index = -code;
    return index > 0 && index < sizeof known / sizeof *known ? known[index] : EINVAL;
}

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

/* A failure shows in the answer that does not come: whoever refuses a caller says so before closing. */
static void send_frame(int socket, const struct frame *frame, const struct sharing *sharing, int passed)
{
    union control control = {.room = {0}};
    struct iovec parts[] = {{(void *)frame, sizeof *frame}, {(void *)sharing, sizeof *sharing}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = sharing == NULL ? 1 : 2};
    if (passed >= 0) {
        control.header = (struct cmsghdr){CMSG_LEN(sizeof passed), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &passed, sizeof passed);
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

/* Receive a frame, what follows it (into a page) and a descriptor (-1 if none came); not what has no place, NULL. */
static int receive_frame(int socket, struct frame *frame, void *page, int *passed)
{
    union control control;
    struct iovec parts[] = {{frame, sizeof *frame}, {page, PAGE_BYTES}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = page == NULL ? 1 : 2, .msg_control = &control,
                             .msg_controllen = passed == NULL ? 0 : sizeof control};
    ssize_t received;
    do
        received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (passed != NULL) {
        struct cmsghdr *header = received > 0 ? CMSG_FIRSTHDR(&message) : NULL;
        *passed = -1;
        if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
            memcpy(passed, CMSG_DATA(header), sizeof *passed);
    }
    return received < (ssize_t)sizeof *frame ? ECANCELED : 0;
}

static void leave_manager(void)
{
    if (manager.socket >= 0)
        NEXT(close)(manager.socket);
    manager.socket = -1;
}

struct call {
    struct frame frame; /* the answer's, afterwards */
    const struct sharing *sharing;
    int sent; /* a descriptor that goes with `sharing` */
    void *page;
    int received; /* a descriptor, -1 if none came */
};

/* One call to the manager, whose lock is held. */
static int call_locked(struct call *call)
{
    if (manager.socket < 0)
        return ECANCELED;
    call->frame.tag = ++manager.tag;
    send_frame(manager.socket, &call->frame, call->sharing, call->sharing == NULL ? -1 : call->sent);
    int error = receive_frame(manager.socket, &call->frame, call->page, &call->received);
    if (error) {
        leave_manager(); /* it has ended: the next device that is opened looks for a new one */
        return error;
    }
    return call->frame.w[0] == FFA_ERROR ? errno_of(call->frame.w[2]) : 0;
}

static int call_manager(struct call *call)
{
    pthread_mutex_lock(&manager.lock);
    int error = call_locked(call);
    pthread_mutex_unlock(&manager.lock);
    return error;
}

/* The place that edgeroot.tee.places chooses. */
static int manager_address(struct sockaddr_un *address)
{
    const char *named = secure_getenv("EDGEROOT_SECURE_WORLD");
    const char *runtime = geteuid() == 0 ? NULL : secure_getenv("XDG_RUNTIME_DIR");
    size_t room = sizeof address->sun_path;
    int length;
    address->sun_family = AF_UNIX;
    if (named != NULL && *named)
        length = snprintf(address->sun_path, room, "%s", named);
    else
        length = snprintf(address->sun_path, room, "%s/edgeroot-secure-world/spm.sock",
                          runtime != NULL && *runtime ? runtime : "/run");
    return length > 0 && (size_t)length < room ? 0 : ENAMETOOLONG;
}

static int check_peer(void)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(manager.socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return errno;
    /* If somebody else has put a socket there, he must not be told any secret. */
    return peer.uid == 0 || peer.uid == geteuid() ? 0 : EACCES;
}

static int greet(void)
{
    struct call version = {.frame.w = {FFA_VERSION, VERSION_1_1}}, id = {.frame.w = {FFA_ID_GET}};
    int error = call_locked(&version);
    if (!error && version.frame.w[0] >> 16 != VERSION_1_1 >> 16)
        error = EPROTO;
    if (!error)
        error = call_locked(&id);
    manager.own_id = (uint16_t)id.frame.w[2];
    return error;
}

/* Connect to the manager, unless that is done. */
static int join_manager(void)
{
    struct sockaddr_un address;
    int error = 0;
    pthread_mutex_lock(&manager.lock);
    if (manager.socket < 0) {
        error = manager_address(&address);
        if (!error && (manager.socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) < 0)
            error = errno;
        if (!error && connect(manager.socket, (struct sockaddr *)&address, sizeof address) < 0)
            error = errno;
        if (!error)
            error = check_peer();
        if (!error)
            error = greet();
        if (error)
            leave_manager();
    }
    pthread_mutex_unlock(&manager.lock);
    return error;
}

/* The id of the number-th endpoint. */
static int find_endpoint(unsigned number, uint16_t *endpoint)
{
    struct partition_info infos[PAGE_BYTES / sizeof(struct partition_info) + 1];
    struct call call = {.frame.w = {FFA_PARTITION_INFO_GET}, .page = infos};
    memcpy(&call.frame.w[1], ts_uuid, sizeof ts_uuid);
    int error = call_manager(&call);
    if (!error && (number >= call.frame.w[2] || number >= PAGE_BYTES / sizeof *infos))
        error = ENOENT;
    if (!error)
        *endpoint = infos[number].id;
    return error;
}

int world_open(unsigned number, struct channel *channel)
{
    int error = join_manager();
    if (!error && (error = find_endpoint(number, &channel->endpoint)) == ECANCELED) {
        error = join_manager(); /* the world was started anew */
        if (!error)
            error = find_endpoint(number, &channel->endpoint);
    }
    if (error)
        return error;
    struct call call = {.received = -1};
    for (int tries = 0; tries < START_TRIES; tries++) {
        call.frame = (struct frame){{CHANNEL_OPEN, channel->endpoint}, 0};
        error = call_manager(&call);
        if (error != EAGAIN)
            break;
        nanosleep(&(struct timespec){0, START_WAIT_NS}, NULL); /* the partition is just starting */
    }
    if (!error && call.received < 0)
        error = EPROTO;
    if (error)
        return error;
    pthread_mutex_init(&channel->lock, NULL);
    channel->socket = call.received;
    channel->own_id = manager.own_id;
    channel->tag = 0;
    return 0;
}

void world_close(struct channel *channel)
{
    NEXT(close)(channel->socket);
    pthread_mutex_destroy(&channel->lock);
}

int world_exchange(struct channel *channel, uint32_t words[5])
{
    struct frame answer;
    pthread_mutex_lock(&channel->lock);
    struct frame frame = {{FFA_DIRECT_REQUEST, (uint32_t)channel->own_id << 16 | channel->endpoint}, ++channel->tag};
    memcpy(&frame.w[3], words, 5 * sizeof *words);
    send_frame(channel->socket, &frame, NULL, -1);
    int error = receive_frame(channel->socket, &answer, NULL, NULL);
    pthread_mutex_unlock(&channel->lock);
    if (error)
        return error;
    if (answer.tag != frame.tag)
        return EPROTO;
    if (answer.w[0] != FFA_DIRECT_RESPONSE)
        return answer.w[0] == FFA_ERROR ? errno_of(answer.w[2]) : EPROTO;
    memcpy(words, &answer.w[3], 5 * sizeof *words);
    return 0;
}

int world_share(const struct channel *channel, int descriptor, uint64_t size_bytes, uint64_t *handle)
{
    uint32_t page_count = (uint32_t)(size_bytes / PAGE_BYTES);
    struct sharing sharing = {
        .sender = channel->own_id,
        .attributes = 0x2f, /* ordinary memory */
        .access_bytes = sizeof sharing.access,
        .access_count = 1,
        .access_offset = offsetof(struct sharing, access),
        .access = {channel->endpoint, 2 /* read and write */, 0, offsetof(struct sharing, composite), 0},
        .composite = {.page_count = page_count, .range_count = 1, .range_page_count = page_count},
    };
    struct call call = {
        .frame.w = {FFA_MEM_SHARE, sizeof sharing, sizeof sharing}, .sharing = &sharing, .sent = descriptor};
    int error = call_manager(&call);
    if (!error)
        *handle = (uint64_t)call.frame.w[3] << 32 | call.frame.w[2];
    return error;
}

void world_reclaim(uint64_t handle)
{
    struct call call = {.frame.w = {FFA_MEM_RECLAIM, (uint32_t)handle, (uint32_t)(handle >> 32)}};
    call_manager(&call); /* there is nobody to tell if it fails, and then the world has ended */
}

void world_forget(void)
{
    pthread_mutex_init(&manager.lock, NULL);
    leave_manager();
}

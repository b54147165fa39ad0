/* A program that was written for Linux's TSTEE driver: it knows nothing of emulated worlds. Prints what it sees. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/tee.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUE_INOUT = TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_INOUT, THREADS = 4, CALLS = 50, OWN_CALLS = 20 };

static const uint8_t crypto[16] = {0xd9, 0xdf, 0x52, 0xd5, 0x16, 0xa2, 0x4b, 0xb2,
                                   0x9a, 0xa4, 0xd2, 0x6d, 0x3b, 0x84, 0xe8, 0xc0};

struct invocation {
    struct tee_ioctl_invoke_arg head;
    struct tee_ioctl_param parameter;
};

static const char *outcome(int result)
{
    return result >= 0 ? "ok" : errno == 524 ? "ENOTSUPP" : strerrorname_np(errno);
}

static int structured(int device, unsigned long request, void *arguments, size_t length)
{
    struct tee_ioctl_buf_data buffer = {(uintptr_t)arguments, length};
    return ioctl(device, request, &buffer);
}

static int open_session(int device, const uint8_t uuid[16], uint32_t *session)
{
    struct tee_ioctl_open_session_arg arguments = {.session = 99, .ret = 99, .ret_origin = 99};
    memcpy(arguments.uuid, uuid, 16);
    int result = structured(device, TEE_IOC_OPEN_SESSION, &arguments, sizeof arguments);
    *session = arguments.session;
    return result;
}

static int invoke_with(int device, struct invocation *call)
{
    return structured(device, TEE_IOC_INVOKE, call, sizeof *call);
}

static void set_call(struct invocation *call, uint32_t session, uint32_t opcode, int id, uint32_t length)
{
    *call = (struct invocation){{.func = opcode, .session = session, .ret = 99, .ret_origin = 7, .num_params = 1},
                                {VALUE_INOUT, (uint64_t)id, length, 5}};
}

static char *allocate(int device, uint64_t size, struct tee_ioctl_shm_alloc_data *data, int *descriptor)
{
    *data = (struct tee_ioctl_shm_alloc_data){.size = size};
    *descriptor = ioctl(device, TEE_IOC_SHM_ALLOC, data);
    return *descriptor < 0 ? NULL : mmap(NULL, data->size, PROT_READ | PROT_WRITE, MAP_SHARED, *descriptor, 0);
}

static int walk(void)
{
    struct tee_ioctl_version_data version;
    struct tee_ioctl_shm_alloc_data data, more;
    struct invocation call;
    uint32_t session, other, strange;
    int shared, descriptor;
    const uint8_t nobody[16] = {0};

    printf("open 7: %s\n", outcome(open("/dev/tee7", O_RDWR)));
    printf("open priv: %s\n", outcome(open("/dev/teepriv0", O_RDWR)));
    int device = open("/dev/tee1", O_RDWR | O_CLOEXEC);
    printf("open: %s\n", outcome(device));
    if (device < 0)
        return 1;
    printf("version: %s", outcome(ioctl(device, TEE_IOC_VERSION, &version)));
    printf(" %u %#x %u\n", version.impl_id, version.impl_caps, version.gen_caps);

    printf("session: %s", outcome(open_session(device, crypto, &session)));
    printf(" %u\n", session);
    printf("another: %s", outcome(open_session(device, crypto, &other)));
    printf(" %u\n", other);
    printf("strange: %s\n", outcome(open_session(device, nobody, &strange)));

    char *memory = allocate(device, 5000, &data, &shared);
    printf("memory: %s %llu %d\n", memory == NULL || memory == MAP_FAILED ? "no" : "ok", data.size, data.id);
    printf("seals: %#x\n", fcntl(shared, F_GET_SEALS));
    printf("close: %s\n", outcome(close(shared)));
    memcpy(memory, "request", 7);
    set_call(&call, session, 0xabcd0010, data.id, 7);
    printf("invoke: %s", outcome(invoke_with(device, &call)));
    printf(" %d %llu %.7s origin %u b %llu c %llu\n", (int)call.head.ret, call.parameter.a, memory,
           call.head.ret_origin, call.parameter.b, call.parameter.c);
    set_call(&call, other, 0x11, data.id, 0);
    printf("status: %s", outcome(invoke_with(device, &call)));
    printf(" %d %llu\n", (int)call.head.ret, call.parameter.a);
    set_call(&call, session, 0x11, 0, 0);
    printf("no memory: %s", outcome(invoke_with(device, &call)));
    printf(" %d %llu\n", (int)call.head.ret, call.parameter.a);
    set_call(&call, session, 0x15, data.id, 0);
    printf("too long: %s", outcome(invoke_with(device, &call)));
    printf(" %llu\n", call.parameter.a);

    set_call(&call, session, 0x12, data.id, 0);
    printf("rpc error: %s", outcome(invoke_with(device, &call)));
    printf(" %u\n", call.head.ret);
    set_call(&call, session, 0x13, data.id, 0);
    printf("busy: %s\n", outcome(invoke_with(device, &call)));
    set_call(&call, 5, 0x10, data.id, 0);
    printf("no session: %s\n", outcome(invoke_with(device, &call)));
    set_call(&call, session, 0x10, 77, 0);
    printf("no such memory: %s\n", outcome(invoke_with(device, &call)));
    set_call(&call, session, 0x10, data.id, 8193);
    printf("longer than memory: %s\n", outcome(invoke_with(device, &call)));
    set_call(&call, session, 0x10, data.id, 0);
    call.parameter.attr = TEE_IOCTL_PARAM_ATTR_TYPE_MEMREF_INOUT;
    printf("wrong parameter: %s\n", outcome(invoke_with(device, &call)));
    set_call(&call, session, 0x10, data.id, 0);
    printf("wrong length: %s\n", outcome(structured(device, TEE_IOC_INVOKE, &call, sizeof call - 1)));
    call.head.num_params = 0;
    printf("no parameter: %s\n", outcome(structured(device, TEE_IOC_INVOKE, &call, sizeof call.head)));

    int second = open("/dev/tee1", O_RDWR);
    set_call(&call, 0, 0x10, data.id, 0);
    printf("another's session: %s\n", outcome(invoke_with(second, &call)));
    printf("session there: %s", outcome(open_session(second, crypto, &other)));
    printf(" %u\n", other);
    printf("another's memory: %s\n", outcome(invoke_with(second, &call)));
    allocate(second, 1, &more, &descriptor);
    printf("memory there: %llu %d\n", more.size, more.id);
    close(second);
    close(descriptor);

    more = (struct tee_ioctl_shm_alloc_data){.size = 1, .flags = 1};
    printf("flags: %s\n", outcome(ioctl(device, TEE_IOC_SHM_ALLOC, &more)));
    struct tee_ioctl_shm_register_data own = {.length = 4096};
    printf("register: %s\n", outcome(ioctl(device, TEE_IOC_SHM_REGISTER, &own)));
    struct tee_ioctl_cancel_arg cancel = {0};
    printf("cancel: %s\n", outcome(ioctl(device, TEE_IOC_CANCEL, &cancel)));
    printf("unknown: %s\n", outcome(ioctl(device, 0x1234, &cancel)));
    struct tee_ioctl_close_session_arg closing = {session};
    printf("close session: %s\n", outcome(ioctl(device, TEE_IOC_CLOSE_SESSION, &closing)));
    printf("and again: %s\n", outcome(ioctl(device, TEE_IOC_CLOSE_SESSION, &closing)));

    printf("unmap: %s\n", outcome(munmap(memory, data.size)));
    set_call(&call, 1, 0x10, data.id, 0);
    printf("after unmap: %s\n", outcome(invoke_with(device, &call)));
    printf("close: %s\n", outcome(close(device)));
    printf("after close: %s\n", outcome(ioctl(device, TEE_IOC_VERSION, &version)));
    return 0;
}

/* Each thread with memory of its own on the one device, and then with a device of its own. */
static void *work(void *argument)
{
    struct tee_ioctl_shm_alloc_data data;
    intptr_t failures = 0;
    uint32_t session;
    int device = *(int *)argument, descriptor;
    if (open_session(device, crypto, &session) < 0)
        return (void *)1;
    char *memory = allocate(device, 4096, &data, &descriptor);
    for (int index = 0; index < CALLS; index++) {
        char request[16];
        int length = snprintf(request, sizeof request, "%p", (void *)&data + index);
        memcpy(memory, request, (size_t)length);
        struct invocation call;
        set_call(&call, session, 0x10, data.id, (uint32_t)length);
        if (invoke_with(device, &call) < 0 || call.parameter.a != (uint64_t)length)
            failures++;
        for (int at = 0; at < length; at++)
            failures += memory[at] != request[length - 1 - at];
    }
    munmap(memory, data.size);
    close(descriptor);
    for (int index = 0; index < OWN_CALLS; index++) {
        int own = open("/dev/tee1", O_RDWR);
        failures += own < 0 || open_session(own, crypto, &session) < 0 || session != 0;
        close(own);
    }
    return (void *)failures;
}

static int threads(void)
{
    pthread_t running[THREADS];
    intptr_t failures = 0;
    int device = open("/dev/tee1", O_RDWR);
    for (int index = 0; index < THREADS; index++)
        pthread_create(&running[index], NULL, work, &device);
    for (int index = 0; index < THREADS; index++) {
        void *result;
        pthread_join(running[index], &result);
        failures += (intptr_t)result;
    }
    printf("failures: %ld\n", (long)failures);
    return 0;
}

static int fork_and_use(void)
{
    uint32_t session;
    int status, device = open("/dev/tee1", O_RDWR);
    open_session(device, crypto, &session);
    fflush(stdout);
    if (fork() == 0) {
        struct tee_ioctl_version_data version;
        printf("child, parent's device: %s\n", outcome(ioctl(device, TEE_IOC_VERSION, &version)));
        close(device);
        device = open("/dev/tee1", O_RDWR);
        printf("child, own device: %s\n", outcome(open_session(device, crypto, &session)));
        fflush(stdout);
        _exit(0);
    }
    wait(&status);
    struct invocation call;
    set_call(&call, session, 0x11, 0, 0);
    printf("parent: %s", outcome(invoke_with(device, &call)));
    printf(" %d\n", (int)call.head.ret);
    return 0;
}

/* The partition ends during a call; a device that is opened afterwards works. */
static int outlive(void)
{
    uint32_t session;
    int device = open("/dev/tee1", O_RDWR);
    open_session(device, crypto, &session);
    struct invocation call;
    set_call(&call, session, 0x14, 0, 0);
    printf("it ends: %s\n", outcome(invoke_with(device, &call)));
    set_call(&call, session, 0x11, 0, 0);
    printf("later: %s\n", outcome(invoke_with(device, &call)));
    close(device);
    device = open("/dev/tee1", O_RDWR);
    printf("anew: %s\n", outcome(open_session(device, crypto, &session)));
    return 0;
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (strcmp(what, "walk") == 0)
        return walk();
    if (strcmp(what, "threads") == 0)
        return threads();
    if (strcmp(what, "fork") == 0)
        return fork_and_use();
    if (strcmp(what, "outlive") == 0)
        return outlive();
    int device = open(what, O_RDWR);
    printf("%s\n", outcome(device));
    return 0;
}

/* Answers /dev/teeN from the emulated secure world: for programs that were written for Linux's TSTEE driver.
 *
 * Preloaded (LD_PRELOAD), it takes over open, ioctl, mmap, munmap and close for these devices and for the shared memory
 * that they give out; everything else goes on to the C library. /dev/teeN is the N-th Trusted Services endpoint of the
 * emulated world, whose socket EDGEROOT_SECURE_WORLD names. What a program sees (ids, errno, which fields are written)
 * follows drivers/tee of Linux 6.10. Differences: a device is not shared with a child process or by dup, and an address
 * that cannot be read ends the program instead of giving EFAULT.
 *
 * `table` is held for moments only, and never while an answer is waited for. */

#define _GNU_SOURCE
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tee.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* The management interface of TS RPC, in w3; errors are in w4 (of the words that are sent: 0 and 1). */
#define TS_VERSION_GET 0x00ff0000u
#define TS_MEMORY_RETRIEVE 0x00ff0001u
#define TS_MEMORY_RELINQUISH 0x00ff0002u
#define TS_SERVICE_INFO 0x00ff0003u
#define TS_PROTOCOL 1u

enum {
    DESCRIPTORS = 4096,    /* from here on none are given out */
    SESSIONS = 1024,       /* of one open device */
    IMPL_ID_TSTEE = 3,     /* in linux/tee.h from 6.10 on */
    KERNEL_ENOTSUPP = 524, /* the driver lets it out for memory that the program brings */
};

struct device { /* what one open of /dev/teeN gives */
    struct channel channel;
    int references;              /* the descriptor, each piece of memory, each call that is under way */
    int16_t interface[SESSIONS]; /* by session id, -1: free */
};

struct memory {
    struct device *device;
    int references; /* the descriptor, each mapping, each call that is under way */
    int id;
    uint64_t size, handle;
    struct memory *next;
};

struct mapping {
    void *address;
    size_t length;
    struct memory *memory;
    struct mapping *next;
};

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER; /* for all of these, and what they lead to */
static struct device *devices[DESCRIPTORS];
static struct memory *memories[DESCRIPTORS];
static struct memory *all_memory;
static struct mapping *mappings;

static atomic_int in_use; /* descriptors and mappings: with none, calls pass without a lock */
static atomic_int owner;  /* the process whose tables these are: the child of a vfork sees them, and is another */

static int fail(int error)
{
    errno = error;
    return -1;
}

static bool is_active(void)
{
    return atomic_load(&in_use) > 0 && atomic_load(&owner) == getpid();
}

static bool may_be_ours(int descriptor)
{
    return descriptor >= 0 && descriptor < DESCRIPTORS && is_active();
}

static struct device *device_at(int descriptor)
{
    if (!may_be_ours(descriptor))
        return NULL;
    pthread_mutex_lock(&table);
    struct device *device = devices[descriptor];
    if (device != NULL)
        device->references++;
    pthread_mutex_unlock(&table);
    return device;
}

static void put_device(struct device *device)
{
    pthread_mutex_lock(&table);
    bool last = --device->references == 0;
    pthread_mutex_unlock(&table);
    if (last) {
        world_close(&device->channel);
        free(device);
    }
}

static struct memory *memory_of(const struct device *device, int id)
{
    pthread_mutex_lock(&table);
    struct memory *memory = all_memory;
    while (memory != NULL && (memory->id != id || memory->device != device || memory->references == 0))
        memory = memory->next;
    if (memory != NULL)
        memory->references++;
    pthread_mutex_unlock(&table);
    return memory;
}

static void put_memory(struct memory *memory)
{
    pthread_mutex_lock(&table);
    bool last = --memory->references == 0;
    pthread_mutex_unlock(&table);
    if (!last)
        return;
    uint32_t words[5] = {TS_MEMORY_RELINQUISH, (uint32_t)memory->handle, (uint32_t)(memory->handle >> 32)};
    if (world_exchange(&memory->device->channel, words) == 0 && words[1] == 0)
        world_reclaim(memory->handle);
    pthread_mutex_lock(&table);
    struct memory **place = &all_memory;
    while (*place != memory)
        place = &(*place)->next;
    *place = memory->next;
    pthread_mutex_unlock(&table);
    put_device(memory->device);
    free(memory);
}

/* The child of a fork has copies of the descriptors, but two processes cannot share a channel: it starts anew. */
static void forget_all(void)
{
    pthread_mutex_init(&table, NULL);
    for (int descriptor = 0; descriptor < DESCRIPTORS; descriptor++) {
        if (devices[descriptor] != NULL)
            NEXT(close)(devices[descriptor]->channel.socket);
        devices[descriptor] = NULL;
        memories[descriptor] = NULL;
    }
    all_memory = NULL;
    mappings = NULL;
    atomic_store(&in_use, 0);
    world_forget();
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_all);
}

static int make_device(unsigned number, struct device **made)
{
    struct device *device = calloc(1, sizeof *device);
    int error = device == NULL ? ENOMEM : world_open(number, &device->channel);
    if (error) {
        free(device);
        return error;
    }
    memset(device->interface, 0xff, sizeof device->interface);
    device->references = 1;
    uint32_t words[5] = {TS_VERSION_GET};
    error = world_exchange(&device->channel, words);
    if (!error && words[1] != TS_PROTOCOL)
        error = ENOENT; /* the driver makes no device for it */
    if (error)
        put_device(device);
    *made = device;
    return error;
}

static int open_device(unsigned number, int flags)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct device *device = NULL;
    pthread_once(&once, watch_forks);
    int error = make_device(number, &device);
    if (error)
        return fail(error);
    /* A character device that can do nothing by itself holds the number. */
    int descriptor = NEXT(open)("/dev/null", flags & (O_ACCMODE | O_CLOEXEC | O_NONBLOCK));
    if (descriptor < 0 || descriptor >= DESCRIPTORS) {
        error = descriptor < 0 ? errno : EMFILE;
        if (descriptor >= 0)
            NEXT(close)(descriptor);
        put_device(device);
        return fail(error);
    }
    pthread_mutex_lock(&table);
    devices[descriptor] = device;
    atomic_store(&owner, getpid());
    atomic_fetch_add(&in_use, 1);
    pthread_mutex_unlock(&table);
    return descriptor;
}

/* -- The ioctls: a result, or minus an errno -- */

/* Share a memory file with the endpoint and have it retrieve it; 0 or an errno. */
static int share(struct device *device, struct memory *memory, int descriptor)
{
    int error = world_share(&device->channel, descriptor, memory->size, &memory->handle);
    if (error)
        return error;
    uint32_t words[5] = {TS_MEMORY_RETRIEVE, (uint32_t)memory->handle, (uint32_t)(memory->handle >> 32)};
    error = world_exchange(&device->channel, words);
    if (!error && words[1] != 0)
        error = EINVAL; /* also when the endpoint's slots are all taken */
    if (error)
        world_reclaim(memory->handle);
    return error;
}

/* A memory file that can neither shrink nor grow, so that nobody who maps it can be hurt; or minus an errno. */
static int sealed_file(uint64_t size)
{
    int descriptor = memfd_create("tee-shm", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0)
        return -errno;
    if (ftruncate(descriptor, (off_t)size) == 0
        && fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        if (descriptor < DESCRIPTORS)
            return descriptor;
        errno = EMFILE;
    }
    int error = errno;
    NEXT(close)(descriptor);
    return -error;
}

static int do_shm_alloc(struct device *device, struct tee_ioctl_shm_alloc_data *data)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (data->flags || data->size == 0)
        return -EINVAL;
    if (data->size > UINT32_MAX)
        return -ENOMEM;
    struct memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL)
        return -ENOMEM;
    *memory = (struct memory){.device = device, .references = 1, .size = (data->size + page - 1) / page * page};
    int descriptor = sealed_file(memory->size);
    int error = descriptor < 0 ? -descriptor : share(device, memory, descriptor);
    if (error) {
        if (descriptor >= 0)
            NEXT(close)(descriptor);
        free(memory);
        return -error;
    }
    pthread_mutex_lock(&table);
    bool taken = true;
    while (taken) { /* the lowest id from 1 on that is free; whose it is does not matter, it is good here only */
        memory->id++;
        taken = false;
        for (struct memory *one = all_memory; one != NULL; one = one->next)
            taken |= one->id == memory->id && one->device->channel.endpoint == device->channel.endpoint;
    }
    memory->next = all_memory;
    all_memory = memory;
    device->references++;
    memories[descriptor] = memory;
    atomic_fetch_add(&in_use, 1);
    pthread_mutex_unlock(&table);
    data->size = memory->size;
    data->id = memory->id;
    return descriptor;
}

/* What goes before the arguments of a call: their length is exactly that of the structure and its parameters. */
static int check_arguments(const struct tee_ioctl_buf_data *buffer, size_t head_bytes, size_t count_offset)
{
    uint32_t count;
    if (buffer->buf_len > TEE_MAX_ARG_SIZE || buffer->buf_len < head_bytes)
        return EINVAL;
    if (buffer->buf_ptr == 0)
        return EFAULT;
    const char *arguments = (const char *)(uintptr_t)buffer->buf_ptr;
    memcpy(&count, arguments + count_offset, sizeof count);
    if (head_bytes + (uint64_t)count * sizeof(struct tee_ioctl_param) != buffer->buf_len)
        return EINVAL;
    for (uint32_t index = 0; index < count; index++) {
        struct tee_ioctl_param parameter;
        memcpy(&parameter, arguments + head_bytes + index * sizeof parameter, sizeof parameter);
        if (parameter.attr > TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_INOUT)
            return EINVAL; /* no parameter can point to memory: no such memory can be registered */
    }
    return 0;
}

static int do_open_session(struct device *device, const struct tee_ioctl_buf_data *buffer)
{
    struct tee_ioctl_open_session_arg arguments;
    uint32_t words[5] = {TS_SERVICE_INFO};
    int error =
        check_arguments(buffer, sizeof arguments, offsetof(struct tee_ioctl_open_session_arg, num_params));
    if (error)
        return -error;
    void *place = (void *)(uintptr_t)buffer->buf_ptr;
    memcpy(&arguments, place, sizeof arguments);
    memcpy(&words[1], arguments.uuid, sizeof arguments.uuid);
    error = world_exchange(&device->channel, words);
    if (error)
        return -error;
    if (words[1] != 0)
        return -ENODEV;
    if (words[2] > UINT8_MAX)
        return -EINVAL;
    uint32_t session = 0;
    pthread_mutex_lock(&table);
    while (session < SESSIONS && device->interface[session] >= 0)
        session++;
    if (session < SESSIONS)
        device->interface[session] = (int16_t)words[2];
    pthread_mutex_unlock(&table);
    if (session == SESSIONS)
        return -ENOMEM;
    arguments.session = session;
    arguments.ret = 0;
    memcpy(place, &arguments, sizeof arguments);
    return 0;
}

/* The session's interface, -1 if there is no such session. */
static int interface_of(struct device *device, uint32_t session, bool close_it)
{
    int interface = -1;
    pthread_mutex_lock(&table);
    if (session < SESSIONS) {
        interface = device->interface[session];
        if (close_it)
            device->interface[session] = -1;
    }
    pthread_mutex_unlock(&table);
    return interface;
}

static int do_invoke(struct device *device, const struct tee_ioctl_buf_data *buffer)
{
    struct {
        struct tee_ioctl_invoke_arg head;
        struct tee_ioctl_param parameter;
    } arguments;
    struct memory *memory = NULL;
    uint64_t handle = UINT64_MAX; /* a call without memory */
    int error = check_arguments(buffer, sizeof arguments.head, offsetof(struct tee_ioctl_invoke_arg, num_params));
    if (error)
        return -error;
    if (buffer->buf_len < sizeof arguments)
        return -EINVAL; /* the driver takes the first parameter without asking whether there is one */
    void *place = (void *)(uintptr_t)buffer->buf_ptr;
    memcpy(&arguments, place, sizeof arguments);
    int interface = interface_of(device, arguments.head.session, false);
    if (interface < 0)
        return -EINVAL;
    bool is_given = arguments.parameter.attr & TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_INPUT;
    int id = is_given ? (int)arguments.parameter.a : 0;
    uint32_t length = is_given ? (uint32_t)arguments.parameter.b : 0;
    if (id != 0) {
        memory = memory_of(device, id);
        if (memory == NULL)
            return -EINVAL;
        handle = memory->handle;
        if (memory->size < length)
            error = EINVAL;
    }
    uint32_t words[5] = {(uint32_t)interface << 16 | (arguments.head.func & 0xffff), (uint32_t)handle,
                         (uint32_t)(handle >> 32), length, 0};
    if (!error)
        error = world_exchange(&device->channel, words);
    if (!error && words[1] != 0)
        error = EINVAL; /* which RPC status it was, the driver says in its log alone */
    if (!error) {
        arguments.head.ret = words[2];
        if (memory != NULL && memory->size >= words[3])
            arguments.parameter.a = words[3];
        bool is_taken = arguments.parameter.attr & TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_OUTPUT;
        memcpy(place, &arguments, is_taken ? sizeof arguments : sizeof arguments.head);
    }
    if (memory != NULL)
        put_memory(memory);
    return -error;
}

static int do_ioctl(struct device *device, uint32_t request, void *argument)
{
    union {
        struct tee_ioctl_version_data version;
        struct tee_ioctl_shm_alloc_data shm_alloc;
        struct tee_ioctl_buf_data buffer;
        struct tee_ioctl_close_session_arg close_session;
        struct tee_ioctl_shm_register_data shm_register;
    } data;
    size_t size = _IOC_SIZE(request);
    int result;
    if (_IOC_TYPE(request) != TEE_IOC_MAGIC || size > sizeof data)
        return -EINVAL;
    if (argument == NULL)
        return -EFAULT;
    memcpy(&data, argument, size); /* the kernel takes it from any address as well, aligned or not */
    switch (request) {
    case (uint32_t)TEE_IOC_VERSION:
        data.version = (struct tee_ioctl_version_data){IMPL_ID_TSTEE, device->channel.endpoint, 0};
        result = 0;
        break;
    case (uint32_t)TEE_IOC_SHM_ALLOC:
        result = do_shm_alloc(device, &data.shm_alloc);
        break;
    case (uint32_t)TEE_IOC_OPEN_SESSION:
        return do_open_session(device, &data.buffer);
    case (uint32_t)TEE_IOC_INVOKE:
        return do_invoke(device, &data.buffer);
    case (uint32_t)TEE_IOC_CLOSE_SESSION:
        return interface_of(device, data.close_session.session, true) < 0 ? -EINVAL : 0;
    case (uint32_t)TEE_IOC_SHM_REGISTER:
        return data.shm_register.flags ? -EINVAL : -KERNEL_ENOTSUPP;
    default: /* TEE_IOC_CANCEL too */
        return -EINVAL;
    }
    if (result >= 0)
        memcpy(argument, &data, size);
    return result;
}

/* The number in /dev/teeN, -1 for other paths. */
static int tee_number(const char *path)
{
    static const char prefix[] = "/dev/tee";
    char *end;
    if (path == NULL || strncmp(path, prefix, sizeof prefix - 1) != 0)
        return -1;
    path += sizeof prefix - 1;
    if (*path < '0' || *path > '9')
        return -1;
    long number = strtol(path, &end, 10);
    return *end == '\0' && number < DESCRIPTORS ? (int)number : -1;
}

/* Memory stays shared as long as it is mapped, also after its descriptor was closed. */
static void *note_mapping(void *address, size_t length, int descriptor)
{
    if (address == MAP_FAILED || !may_be_ours(descriptor))
        return address;
    struct mapping *mapping = malloc(sizeof *mapping);
    if (mapping == NULL)
        return address;
    pthread_mutex_lock(&table);
    struct memory *memory = memories[descriptor];
    if (memory != NULL) {
        memory->references++;
        *mapping = (struct mapping){address, length, memory, mappings};
        mappings = mapping;
        atomic_fetch_add(&in_use, 1);
    }
    pthread_mutex_unlock(&table);
    if (memory == NULL)
        free(mapping);
    return address;
}

/* -- What a program calls -- */

#pragma GCC visibility push(default)

#define MODE_OF(flags) \
    ({ \
        mode_t mode = 0; \
        if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        mode; \
    })

int open(const char *path, int flags, ...)
{
    int number = tee_number(path);
    return number >= 0 ? open_device((unsigned)number, flags) : NEXT(open)(path, flags, MODE_OF(flags));
}

int open64(const char *path, int flags, ...)
{
    int number = tee_number(path);
    return number >= 0 ? open_device((unsigned)number, flags) : NEXT(open64)(path, flags, MODE_OF(flags));
}

int openat(int folder, const char *path, int flags, ...)
{
    int number = tee_number(path);
    return number >= 0 ? open_device((unsigned)number, flags) : NEXT(openat)(folder, path, flags, MODE_OF(flags));
}

int openat64(int folder, const char *path, int flags, ...)
{
    int number = tee_number(path);
    return number >= 0 ? open_device((unsigned)number, flags) : NEXT(openat64)(folder, path, flags, MODE_OF(flags));
}

/* What open becomes in programs that are built with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);
int __openat64_2(int folder, const char *path, int flags);

int __open_2(const char *path, int flags)
{
    return tee_number(path) >= 0 ? open(path, flags) : NEXT(__open_2)(path, flags);
}

int __open64_2(const char *path, int flags)
{
    return tee_number(path) >= 0 ? open(path, flags) : NEXT(__open64_2)(path, flags);
}

int __openat_2(int folder, const char *path, int flags)
{
    return tee_number(path) >= 0 ? open(path, flags) : NEXT(__openat_2)(folder, path, flags);
}

int __openat64_2(int folder, const char *path, int flags)
{
    return tee_number(path) >= 0 ? open(path, flags) : NEXT(__openat64_2)(folder, path, flags);
}

int ioctl(int descriptor, unsigned long request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    struct device *device = device_at(descriptor);
    if (device == NULL)
        return NEXT(ioctl)(descriptor, request, argument);
    int result = do_ioctl(device, (uint32_t)request, argument);
    put_device(device);
    return result < 0 ? fail(-result) : result;
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
    return note_mapping(NEXT(mmap)(address, length, protection, flags, descriptor, offset), length, descriptor);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off64_t offset)
{
    return note_mapping(NEXT(mmap64)(address, length, protection, flags, descriptor, offset), length, descriptor);
}

int munmap(void *address, size_t length)
{
    struct mapping *gone = NULL;
    if (is_active()) {
        pthread_mutex_lock(&table);
        for (struct mapping **one = &mappings; *one != NULL; one = &(*one)->next)
            if ((*one)->address == address && (*one)->length <= length) {
                gone = *one;
                *one = gone->next;
                atomic_fetch_sub(&in_use, 1);
                break;
            }
        pthread_mutex_unlock(&table);
    }
    int result = NEXT(munmap)(address, length);
    if (gone != NULL) {
        int error = errno;
        put_memory(gone->memory);
        free(gone);
        errno = error;
    }
    return result;
}

int close(int descriptor)
{
    struct device *device = NULL;
    struct memory *memory = NULL;
    if (may_be_ours(descriptor)) {
        pthread_mutex_lock(&table);
        device = devices[descriptor];
        memory = memories[descriptor];
        devices[descriptor] = NULL;
        memories[descriptor] = NULL;
        if (device != NULL || memory != NULL)
            atomic_fetch_sub(&in_use, 1);
        pthread_mutex_unlock(&table);
    }
    int result = NEXT(close)(descriptor);
    int error = errno;
    if (device != NULL)
        put_device(device);
    if (memory != NULL)
        put_memory(memory);
    errno = error;
    return result;
}

#pragma GCC visibility pop

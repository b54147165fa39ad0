/* load: a closed-loop load generator for the Parsec wire protocol 1.0 over a Unix socket.
 *
 * Each client sends a request, waits for the answer, and starts again. By default a client is a thread of its own in
 * blocking calls, as clients in reality are programs of their own, each woken for its own answer; with --threads
 * fewer threads drive them through epoll, which costs less. Messages are encoded once; what changes between requests
 * (eight digits at the end of a key name) is written over in place.
 * The result is one JSON line on standard output. `load --help` lists operations and options.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <grp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define MS 1000000ull
#define SECOND 1000000000ull

static void die(const char *what) {
    fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static void *checked(void *memory) {
    if (!memory) { errno = ENOMEM; die("memory"); }
    return memory;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* ---- bytes and Protocol Buffers encoding ---- */

typedef struct { uint8_t *data; size_t len, cap; } bytes;

static void put(bytes *b, const void *data, size_t len) {
    if (b->len + len > b->cap) {
        b->cap = (b->len + len) * 2 + 64;
        b->data = checked(realloc(b->data, b->cap));
    }
    if (len) memcpy(b->data + b->len, data, len);
    b->len += len;
}

static void put_varint(bytes *b, uint64_t value) {
    do {
        uint8_t byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put(b, &byte, 1);
        value >>= 7;
    } while (value);
}

static void field_int(bytes *b, unsigned number, uint64_t value) {
    put_varint(b, (uint64_t)number << 3);
    put_varint(b, value);
}

static void field_bytes(bytes *b, unsigned number, const void *data, size_t len) {
    put_varint(b, (uint64_t)number << 3 | 2);
    put_varint(b, len);
    put(b, data, len);
}

static void field_text(bytes *b, unsigned number, const char *text) { field_bytes(b, number, text, strlen(text)); }

static void field_message(bytes *b, unsigned number, bytes message) {
    field_bytes(b, number, message.data, message.len);
    free(message.data);
}

/* The one bytes field of a result (signature, ciphertext): tag, length, content. */
static bytes only_field(bytes result) {
    bytes content = {0};
    uint64_t len = 0;
    size_t at = 1;
    for (unsigned shift = 0; at < result.len; shift += 7) {
        len |= (uint64_t)(result.data[at] & 0x7f) << shift;
        if (!(result.data[at++] & 0x80)) break;
    }
    if (at + len > result.len) { errno = 0; die("unreadable result"); }
    put(&content, result.data + at, len);
    return content;
}

/* ---- operations of the Parsec contract ---- */

enum { PING = 1, GENERATE = 2, DESTROY = 3, SIGN_HASH = 4, VERIFY_HASH = 5, EXPORT_PUBLIC = 7, RANDOM = 0x0d,
       HASH_COMPUTE = 0x0f, AEAD_ENCRYPT = 0x11, LIST_KEYS = 0x1a };
enum { ECDSA = 4, PKCS1V15 = 1 };                /* fields of Algorithm.AsymmetricSignature */
enum { SHA_256 = 7, SECP_R1 = 2, AEAD_GCM = 2 };
enum kind { P256, RSA, AES };

static bytes signature_algorithm(unsigned scheme) {
    bytes sign_hash = {0}, inner = {0}, algorithm = {0};
    field_int(&sign_hash, 2, SHA_256);
    field_message(&inner, 1, sign_hash);
    field_message(&algorithm, scheme, inner);
    return algorithm;
}

static bytes aead_algorithm(void) {
    bytes algorithm = {0};
    field_int(&algorithm, 1, AEAD_GCM);
    return algorithm;
}

static bytes generate_body(const char *name, enum kind kind, unsigned bits) {
    bytes key_type = {0}, parameters = {0}, usage = {0}, algorithm = {0}, policy = {0}, attributes = {0}, body = {0};
    if (kind == P256) field_int(&parameters, 1, SECP_R1);
    field_message(&key_type, kind == P256 ? 11 : kind == RSA ? 10 : 4, parameters);
    if (kind == AES) {
        field_int(&usage, 4, 1); /* encrypt */
        field_int(&usage, 5, 1); /* decrypt */
        field_message(&algorithm, 5, aead_algorithm());
    } else {
        field_int(&usage, 8, 1); /* sign_hash */
        field_int(&usage, 9, 1); /* verify_hash */
        field_message(&algorithm, 6, signature_algorithm(kind == P256 ? ECDSA : PKCS1V15));
    }
    field_message(&policy, 1, usage);
    field_message(&policy, 2, algorithm);
    field_message(&attributes, 1, key_type);
    field_int(&attributes, 2, bits);
    field_message(&attributes, 3, policy);
    field_text(&body, 1, name);
    field_message(&body, 2, attributes);
    return body;
}

static bytes name_body(const char *name) {
    bytes body = {0};
    field_text(&body, 1, name);
    return body;
}

static bytes sign_body(const char *name, unsigned scheme) {
    static const uint8_t digest[32] = "an SHA-256 digest, 32 bytes long";
    bytes body = name_body(name);
    field_message(&body, 2, signature_algorithm(scheme));
    field_bytes(&body, 3, digest, sizeof digest);
    return body;
}

/* ---- options ---- */

static struct {
    const char *socket, *op, *key;
    uint8_t provider, auth_type, auth[4096];
    uint16_t auth_len;
    unsigned clients, threads, requests_per_connection, drain_ms, timeout_ms;
    long uid, count, payload;
    double seconds, warm_up;
    int keep;
} opt = {.socket = "/run/parsec/parsec.sock", .op = "ping", .key = "bench", .provider = 1, .auth_type = 3, .clients = 8,
         .requests_per_connection = 1, .drain_ms = 10000, .timeout_ms = 10000, .uid = -1, .payload = -1,
         .seconds = 2, .warm_up = 0.3};

/* ---- messages ---- */

#define HEADER 36
#define KEEP_CONNECTION 1

static void put_le(uint8_t *at, uint64_t value, unsigned len) {
    while (len--) { *at++ = (uint8_t)value; value >>= 8; }
}

static uint64_t get_le(const uint8_t *at, unsigned len) {
    uint64_t value = 0;
    while (len--) value = value << 8 | at[len];
    return value;
}

static bytes frame(uint8_t provider, uint32_t opcode, bytes body, unsigned flags) {
    uint8_t header[HEADER] = {0};
    put_le(header, 0x5EC0A710, 4);
    put_le(header + 4, HEADER - 6, 2);
    header[6] = 1; /* version 1.0 */
    put_le(header + 8, flags, 2);
    header[10] = provider;
    header[21] = opt.auth_type;
    put_le(header + 22, body.len, 4);
    put_le(header + 26, opt.auth_len, 2);
    put_le(header + 28, opcode, 4);
    bytes message = {0};
    put(&message, header, HEADER);
    put(&message, body.data, body.len);
    put(&message, opt.auth, opt.auth_len);
    free(body.data);
    return message;
}

static const struct sockaddr_un *address(void) {
    static struct sockaddr_un a;
    if (!a.sun_family) {
        if (strlen(opt.socket) >= sizeof a.sun_path) { errno = ENAMETOOLONG; die(opt.socket); }
        a.sun_family = AF_UNIX;
        strcpy(a.sun_path, opt.socket);
    }
    return &a;
}

/* One request outside the timed loop, on a connection of its own. Returns the status; exits if there is no answer. */
static unsigned call(uint8_t provider, uint32_t opcode, bytes body, bytes *result) {
    bytes request = frame(provider, opcode, body, 0), reply = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {60, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (fd < 0 || connect(fd, (const void *)address(), sizeof *address())) die(opt.socket);
    if (send(fd, request.data, request.len, MSG_NOSIGNAL) != (ssize_t)request.len) die("send");
    uint8_t part[65536];
    while (reply.len < HEADER || reply.len < HEADER + get_le(reply.data + 22, 4)) {
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n < 0) die("receive");
        if (n == 0) { errno = 0; die("the service closed the connection without an answer"); }
        put(&reply, part, (size_t)n);
    }
    close(fd);
    unsigned status = (unsigned)get_le(reply.data + 32, 2);
    if (result) { *result = (bytes){0}; put(result, reply.data + HEADER, reply.len - HEADER); }
    free(request.data);
    free(reply.data);
    return status;
}

/* ---- what an operation sends ---- */

#define DIGITS 8
#define PLACEHOLDER "########"
enum numbering { SAME, NEXT, ANY };  /* the number in the key name: none, the next one, a random one below --count */

static struct {
    bytes step[2];         /* one iteration sends these in turn */
    size_t digits_at[2];   /* where the number lies in them; 0 if nowhere */
    int steps;
    enum numbering numbering;
    int bulk;              /* stop after --count iterations instead of after --seconds */
    char made[256];        /* key to destroy at the end */
} plan;

static void add_step(uint8_t provider, uint32_t opcode, bytes body) {
    unsigned flags = opt.requests_per_connection > 1 ? KEEP_CONNECTION : 0;
    bytes message = frame(provider, opcode, body, flags);
    uint8_t *digits = memmem(message.data, message.len, PLACEHOLDER, DIGITS);
    plan.digits_at[plan.steps] = digits ? (size_t)(digits - message.data) : 0;
    plan.step[plan.steps++] = message;
}

static const char *ready_key(enum kind kind, unsigned bits) {
    static const char *const names[] = {"p256", "rsa", "aes"};
    static char name[256];
    snprintf(name, sizeof name, "%s-%s", opt.key, names[kind]);
    unsigned status = call(opt.provider, GENERATE, generate_body(name, kind, bits), NULL);
    if (status != 0 && status != 1139) { /* 1139: it exists already */
        fprintf(stderr, "load: creating key %s: status %u\n", name, status);
        exit(1);
    }
    if (status == 0 && !opt.keep) strcpy(plan.made, name);
    return name;
}

static void plan_signing(enum kind kind, unsigned bits, unsigned scheme, int verify) {
    const char *name = ready_key(kind, bits);
    if (!verify) { add_step(opt.provider, SIGN_HASH, sign_body(name, scheme)); return; }
    bytes result;
    unsigned status = call(opt.provider, SIGN_HASH, sign_body(name, scheme), &result);
    if (status) { fprintf(stderr, "load: signing: status %u\n", status); exit(1); }
    bytes signature = only_field(result), body = sign_body(name, scheme);
    field_bytes(&body, 4, signature.data, signature.len);
    add_step(opt.provider, VERIFY_HASH, body);
}

static int plan_operation(const char *op) {
    char numbered[256], unique[256];
    uint8_t *payload = checked(calloc(1, opt.payload > 0 ? (size_t)opt.payload : 1024));
    size_t payload_len = opt.payload >= 0 ? (size_t)opt.payload : 64;
    bytes body = {0};
    snprintf(numbered, sizeof numbered, "%s%s", opt.key, PLACEHOLDER);
    snprintf(unique, sizeof unique, "%s-%d-%s", opt.key, getpid(), PLACEHOLDER);
    if (!strcmp(op, "ping") || !strcmp(op, "idle") || !strcmp(op, "dribble")) {
        add_step(0, PING, body);
    } else if (!strcmp(op, "listkeys")) {
        add_step(0, LIST_KEYS, body);
    } else if (!strcmp(op, "random")) {
        field_int(&body, 1, opt.payload >= 0 ? (uint64_t)opt.payload : 32);
        add_step(opt.provider, RANDOM, body);
    } else if (!strcmp(op, "hash")) {
        field_int(&body, 1, SHA_256);
        field_bytes(&body, 2, payload, payload_len);
        add_step(opt.provider, HASH_COMPUTE, body);
    } else if (!strcmp(op, "aead")) {
        body = name_body(ready_key(AES, 128));
        field_message(&body, 2, aead_algorithm());
        field_bytes(&body, 3, "twelve bytes", 12);
        field_text(&body, 4, "additional data");
        field_bytes(&body, 5, payload, payload_len);
        add_step(opt.provider, AEAD_ENCRYPT, body);
    } else if (!strcmp(op, "export")) {
        add_step(opt.provider, EXPORT_PUBLIC, name_body(ready_key(P256, 256)));
    } else if (!strcmp(op, "sign") || !strcmp(op, "verify")) {
        plan_signing(P256, 256, ECDSA, op[0] == 'v');
    } else if (!strcmp(op, "rsasign") || !strcmp(op, "rsaverify")) {
        plan_signing(RSA, 2048, PKCS1V15, op[3] == 'v');
    } else if (!strcmp(op, "signrot")) {
        plan.numbering = ANY;
        add_step(opt.provider, SIGN_HASH, sign_body(numbered, ECDSA));
    } else if (!strcmp(op, "keygen") || !strcmp(op, "rsagen")) {
        plan.numbering = NEXT;
        add_step(opt.provider, GENERATE, op[0] == 'k' ? generate_body(unique, P256, 256) : generate_body(unique, RSA, 4096));
        add_step(opt.provider, DESTROY, name_body(unique));
    } else if (!strcmp(op, "mkkeys") || !strcmp(op, "rmkeys")) {
        plan.numbering = NEXT;
        plan.bulk = 1;
        if (op[0] == 'm') add_step(opt.provider, GENERATE, generate_body(numbered, P256, 256));
        else add_step(opt.provider, DESTROY, name_body(numbered));
    } else {
        return 0;
    }
    free(payload);
    return 1;
}

/* ---- what is counted ---- */

#define STATUSES 65536
static struct {                         /* what seldom happens is counted for all threads together */
    atomic_ulong status[STATUSES];      /* answers with an error, by status */
    atomic_ulong refused, closed, timeout, malformed, reconnects, backlog_full, replies;
} seen;

static __thread struct {
    uint64_t *latency_ns;
    size_t samples, capacity;
    uint64_t total;                     /* iterations of the whole run, warm-up and drain included */
    uint64_t opened;
} own;

static volatile int measuring, stopping;
static volatile sig_atomic_t signalled;
static volatile uint64_t give_up_ns = UINT64_MAX;  /* when to leave unfinished iterations */

static void record(uint64_t latency_ns) {
    if (own.samples == own.capacity) {
        own.capacity = own.capacity ? own.capacity * 2 : 1 << 14;
        own.latency_ns = checked(realloc(own.latency_ns, own.capacity * sizeof *own.latency_ns));
    }
    own.latency_ns[own.samples++] = latency_ns;
}

/* ---- clients ---- */

typedef struct {
    int fd, step;
    unsigned served;                    /* answers on this connection */
    size_t sent, received;
    uint64_t began_ns;                  /* 0: nothing under way */
    uint8_t header[HEADER];
    bytes message[2];
} client;

/* A delay that is the same for all who wait, so that a ring is in order of due times. */
typedef struct { struct { uint64_t due_ns; client *who; } *ring; unsigned first, waiting, size; uint64_t delay_ns; } delay;

/* Each thread has clients of its own. With a single one it waits in recv instead of epoll. */
static __thread int epoll_fd;
static __thread client *clients;
static __thread unsigned client_count, active;
static __thread delay pause_queue = {.delay_ns = MS}, reopen_queue = {.delay_ns = SECOND},
                      dribble_queue = {.delay_ns = 100 * MS};
static __thread uint64_t random_state;
static atomic_ulong next_number;

static __thread int blocking;
#define RECEIVE_TURN_US 100000  /* how long a blocking receive lasts before the clock is looked at */

static void wait_in(delay *q, client *c, uint64_t due_ns) {
    if (!q->ring) { q->size = client_count; q->ring = checked(calloc(q->size, sizeof *q->ring)); }
    unsigned at = (q->first + q->waiting++) % q->size;
    q->ring[at].due_ns = due_ns;
    q->ring[at].who = c;
}

static client *due_in(delay *q, uint64_t now) {
    if (!q->waiting || q->ring[q->first].due_ns > now) return NULL;
    client *c = q->ring[q->first].who;
    q->first = (q->first + 1) % q->size;
    q->waiting--;
    return c;
}

static void hang_up(client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->served = 0;
    c->sent = c->received = 0;
}

/* Opens the connection. 0 on success, else errno; EAGAIN means that the service's accept queue is full. */
static int dial(client *c) {
    static const struct timeval turn = {0, RECEIVE_TURN_US};
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);
    if (c->fd < 0) die("socket");
    if (blocking) setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &turn, sizeof turn);
    if (connect(c->fd, (const void *)address(), sizeof *address())) {
        int why = errno;
        hang_up(c);
        return why;
    }
    own.opened++;
    return 0;
}

static void watch(client *c, int control, uint32_t events) {
    struct epoll_event event = {.events = events | EPOLLET, .data.ptr = c};
    if (blocking) return;
    if (epoll_ctl(epoll_fd, control, c->fd, &event)) die("epoll_ctl");
}

static void begin(client *c);
static void advance(client *c);

static void retire(client *c) {
    hang_up(c);
    c->began_ns = 0;
    active--;
}

/* The iteration ended without an answer. */
static void fail(client *c, atomic_ulong *counter) {
    if (measuring) ++*counter;
    hang_up(c);
    c->began_ns = 0;
    if (stopping) { active--; return; }
    wait_in(&pause_queue, c, now_ns() + pause_queue.delay_ns);
}

static void finish(client *c, unsigned status) {
    uint64_t now = now_ns();
    own.total++;
    if (measuring) {
        if (status) seen.status[status]++;
        else record(now - c->began_ns);
    }
    if (stopping) retire(c);
    else begin(c);
}

/* Sends what is left of the current step's message, connecting first where needed. */
static void push(client *c) {
    bytes *message = &c->message[c->step];
    int fresh = c->fd < 0;
    if (fresh) {
        int why = dial(c);
        if (why == EAGAIN) {
            seen.backlog_full++;
            wait_in(&pause_queue, c, now_ns() + pause_queue.delay_ns);
            return;
        }
        if (why) { fail(c, &seen.refused); return; }
    }
    ssize_t n = send(c->fd, message->data + c->sent, message->len - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        if (!c->served) { fail(c, &seen.closed); return; }
        hang_up(c); /* a kept connection has come to its end between two requests */
        seen.reconnects++;
        push(c);
        return;
    }
    if (n > 0) c->sent += (size_t)n;
    int partial = c->sent < message->len;
    if (fresh) watch(c, EPOLL_CTL_ADD, partial ? EPOLLIN | EPOLLOUT : EPOLLIN);
    else if (partial) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void begin(client *c) {
    uint64_t number = 0;
    if (plan.numbering == NEXT) number = atomic_fetch_add(&next_number, 1);
    if (plan.bulk && number >= (uint64_t)opt.count) { retire(c); return; }
    if (plan.numbering == ANY) {
        random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
        number = random_state % (uint64_t)opt.count;
    }
    for (int step = 0; plan.numbering != SAME && step < plan.steps; step++) {
        uint8_t *digit = c->message[step].data + plan.digits_at[step] + DIGITS;
        uint64_t rest = number;
        for (int i = 0; i < DIGITS; i++, rest /= 10) *--digit = (uint8_t)('0' + rest % 10);
    }
    c->step = 0;
    c->began_ns = now_ns();
    advance(c);
}

static void advance(client *c) {
    c->sent = c->received = 0;
    push(c);
}

/* Takes in part of an answer; 1 when it is complete, -1 when it is no answer of this protocol. */
static int feed(client *c, const uint8_t *data, size_t len) {
    if (c->received < HEADER) {
        size_t part = HEADER - c->received < len ? HEADER - c->received : len;
        memcpy(c->header + c->received, data, part);
    }
    c->received += len;
    if (c->received < HEADER) return 0;
    if (get_le(c->header, 4) != 0x5EC0A710) return -1;
    size_t expected = HEADER + get_le(c->header + 22, 4);
    return c->received < expected ? 0 : c->received == expected ? 1 : -1;
}

static __thread uint8_t scratch[1 << 16];

static void on_event(client *c, uint32_t events) {
    if (c->fd < 0) return;
    if (events & EPOLLOUT && c->sent < c->message[c->step].len) { push(c); if (c->fd < 0) return; }
    for (;;) {
        ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            if (c->served && !c->received) { hang_up(c); seen.reconnects++; advance(c); }
            else fail(c, &seen.closed);
            return;
        }
        int complete = feed(c, scratch, (size_t)n);
        if (complete < 0) { fail(c, &seen.malformed); return; }
        if (!complete) continue;
        unsigned status = (unsigned)get_le(c->header + 32, 2);
        if (++c->served >= opt.requests_per_connection) hang_up(c);
        if (!status && c->step + 1 < plan.steps) { c->step++; advance(c); }
        else finish(c, status);
        return;
    }
}

static void drop_the_late(uint64_t now) {
    for (client *c = clients; c < clients + client_count; c++)
        if (c->fd >= 0 && c->began_ns && now - c->began_ns > opt.timeout_ms * MS) fail(c, &seen.timeout);
}

/* ---- those who only occupy connections ---- */

static void hold_event(client *c, int reopen) {
    for (;;) {
        ssize_t n = recv(c->fd, scratch, sizeof scratch, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n > 0) { seen.replies++; continue; }
        seen.closed++;
        hang_up(c);
        if (reopen) wait_in(&reopen_queue, c, now_ns() + reopen_queue.delay_ns);
        return;
    }
}

static void hold_open(client *c) {
    int why = dial(c);
    if (!why) { watch(c, EPOLL_CTL_ADD, EPOLLIN); return; }
    if (why == EAGAIN) seen.backlog_full++;
    else seen.refused++;
    wait_in(&reopen_queue, c, now_ns() + reopen_queue.delay_ns);
}

static void dribble(client *c) {
    bytes *message = &c->message[0];
    if (c->fd < 0 && !dial(c)) watch(c, EPOLL_CTL_ADD, EPOLLIN);
    if (c->fd >= 0 && c->sent < message->len && send(c->fd, message->data + c->sent, 1, MSG_NOSIGNAL) == 1) c->sent++;
    wait_in(&dribble_queue, c, now_ns() + dribble_queue.delay_ns);
}

static void hold(int dribbling) {
    struct epoll_event events[256];
    uint64_t start = now_ns(), end = opt.seconds > 0 ? start + (uint64_t)(opt.seconds * 1e9) : UINT64_MAX;
    for (unsigned i = 0; i < opt.clients; i++) /* spread over one interval, so that they do not act in step */
        wait_in(dribbling ? &dribble_queue : &pause_queue, &clients[i], start + (dribbling ? 100 * MS / opt.clients * i : 0));
    while (!signalled) {
        uint64_t now = now_ns();
        client *c;
        if (now >= end) break;
        while ((c = due_in(&pause_queue, now)) || (c = due_in(&reopen_queue, now))) hold_open(c);
        while ((c = due_in(&dribble_queue, now))) dribble(c);
        int n = epoll_wait(epoll_fd, events, 256, dribbling ? 1 : 5);
        for (int i = 0; i < n; i++) hold_event(events[i].data.ptr, !dribbling);
    }
    unsigned open = 0;
    for (unsigned i = 0; i < opt.clients; i++) open += clients[i].fd >= 0;
    printf("{\"op\":\"%s\",\"clients\":%u,\"opened\":%lu,\"closed\":%lu,\"refused\":%lu,\"backlog_full\":%lu,"
           "\"replies\":%lu,\"open_at_end\":%u}\n", opt.op, opt.clients, own.opened, seen.closed, seen.refused,
           seen.backlog_full, seen.replies, open);
}

/* ---- the run ---- */

static void turn(void) {
    static __thread struct epoll_event events[256];
    client *c;
    if (!blocking) {
        int n = epoll_wait(epoll_fd, events, 256, pause_queue.waiting ? 1 : 100);
        for (int i = 0; i < n; i++) on_event(events[i].data.ptr, events[i].events);
    } else if (clients->fd >= 0) {
        on_event(clients, EPOLLIN);
    } else {
        usleep(1000);
    }
    if (!pause_queue.waiting) return;
    uint64_t now = now_ns();
    while ((c = due_in(&pause_queue, now))) {
        if (c->began_ns) push(c);       /* its connection waits for room in the accept queue */
        else if (stopping) active--;
        else begin(c);
    }
}

static void set_up_clients(unsigned count) {
    client_count = active = count;
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll");
    clients = checked(calloc(count, sizeof *clients));
    for (client *c = clients; c < clients + count; c++) {
        c->fd = -1;
        for (int step = 0; step < plan.steps; step++) put(&c->message[step], plan.step[step].data, plan.step[step].len);
    }
}

static pthread_barrier_t ready;
static pthread_mutex_t merging = PTHREAD_MUTEX_INITIALIZER;
static struct { uint64_t *latency_ns; size_t samples; uint64_t total; } all;

static void *drive(void *number) {
    uintptr_t index = (uintptr_t)number;
    uint64_t next_check = 0;
    random_state = (index + 1) * 0x9E3779B97F4A7C15ull;
    set_up_clients(opt.clients / opt.threads + (index < opt.clients % opt.threads));
    blocking = client_count == 1;
    pthread_barrier_wait(&ready);
    for (unsigned i = 0; i < client_count; i++) begin(&clients[i]);
    while (active) {
        turn();
        uint64_t now = now_ns();
        if (now > give_up_ns) break;
        if (now > next_check) { drop_the_late(now); next_check = now + 100 * MS; }
    }
    for (client *c = clients; c < clients + client_count; c++) hang_up(c);
    pthread_mutex_lock(&merging);
    all.latency_ns = checked(realloc(all.latency_ns, (all.samples + own.samples + 1) * sizeof *all.latency_ns));
    if (own.samples) memcpy(all.latency_ns + all.samples, own.latency_ns, own.samples * sizeof *own.latency_ns);
    all.samples += own.samples;
    all.total += own.total;
    pthread_mutex_unlock(&merging);
    return NULL;
}

static double cpu_seconds(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_us(double share) { /* nearest rank */
    if (!all.samples) return 0;
    size_t rank = (size_t)(share * (double)all.samples + 0.999999);
    return (double)all.latency_ns[rank ? rank - 1 : 0] / 1e3;
}

static void report(double elapsed, double cpu) {
    qsort(all.latency_ns, all.samples, sizeof *all.latency_ns, ascending);
    printf("{\"op\":\"%s\",\"clients\":%u,\"requests_per_connection\":%u,\"seconds\":%.3f,\"ok\":%zu,\"rate\":%.2f,"
           "\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"total\":%lu,\"cpu_seconds\":%.3f,"
           "\"reconnects\":%lu,\"backlog_full\":%lu,\"errors\":{",
           opt.op, opt.clients, opt.requests_per_connection, elapsed, all.samples, (double)all.samples / elapsed,
           percentile_us(0.5), percentile_us(0.95), percentile_us(0.99), percentile_us(1), all.total, cpu,
           seen.reconnects, seen.backlog_full);
    const struct { const char *name; unsigned long count; } failures[] = {{"refused", seen.refused}, {"closed", seen.closed},
        {"timeout", seen.timeout}, {"malformed", seen.malformed}};
    const char *comma = "";
    for (unsigned i = 0; i < sizeof failures / sizeof *failures; i++)
        if (failures[i].count) { printf("%s\"%s\":%lu", comma, failures[i].name, failures[i].count); comma = ","; }
    for (unsigned s = 0; s < STATUSES; s++)
        if (seen.status[s]) { printf("%s\"%u\":%lu", comma, s, seen.status[s]); comma = ","; }
    printf("}}\n");
}

static void run(void) {
    pthread_t threads[opt.threads];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 * 1024);
    pthread_barrier_init(&ready, NULL, opt.threads + 1);
    measuring = plan.bulk || opt.warm_up <= 0;
    for (uintptr_t i = 0; i < opt.threads; i++)
        if ((errno = pthread_create(&threads[i], &attributes, drive, (void *)i))) die("thread");
    uint64_t start = now_ns();
    pthread_barrier_wait(&ready);
    if (!measuring) usleep((useconds_t)(opt.warm_up * 1e6));
    double cpu = cpu_seconds();
    if (!measuring) start = now_ns();
    measuring = 1;
    uint64_t end = opt.seconds > 0 ? start + (uint64_t)(opt.seconds * 1e9) : UINT64_MAX;
    while (!plan.bulk && !signalled && now_ns() < end) {
        uint64_t left_us = (end - now_ns()) / 1000;
        usleep(left_us < 50000 ? (useconds_t)left_us : 50000);
    }
    if (!plan.bulk) {
        end = now_ns();
        cpu = cpu_seconds() - cpu;
        measuring = 0;
        stopping = 1;
        signalled = 0;
        give_up_ns = end + opt.drain_ms * MS; /* what is under way may come to its end, so that no key stays behind */
    }
    for (unsigned i = 0; i < opt.threads; i++) pthread_join(threads[i], NULL);
    if (plan.bulk) {
        end = now_ns();
        cpu = cpu_seconds() - cpu;
    }
    report((double)(end - start) / 1e9, cpu);
    if (*plan.made) call(opt.provider, DESTROY, name_body(plan.made), NULL);
}

/* ---- start ---- */

static void on_signal(int number) {
    (void)number;
    if (signalled || stopping || plan.bulk) _exit(1);
    signalled = 1;
}

static const char usage[] =
    "usage: load [options]\n"
    "  -s, --socket PATH      the service's socket (/run/parsec/parsec.sock)\n"
    "  -o, --op OP            ping random hash aead export sign verify rsasign rsaverify listkeys\n"
    "                         keygen    create and destroy a P-256 key (one iteration)\n"
    "                         rsagen    create and destroy an RSA-4096 key\n"
    "                         mkkeys    create the P-256 keys KEY00000000 ... , --count of them; rmkeys destroys them\n"
    "                         signrot   sign with a random one of them\n"
    "                         idle      only hold connections; open each again a second after it was closed\n"
    "                         dribble   send a ping byte by byte, one every 100 ms; then again\n"
    "  -c, --clients N        clients at the same time (8)\n"
    "  -j, --threads N        threads that drive them (0: one for each client)\n"
    "  -d, --seconds S        measured time (2); 0: until a signal\n"
    "  -w, --warm-up S        time before it (0.3)\n"
    "  -n, --count N          number of keys for mkkeys, rmkeys, signrot\n"
    "  -r, --requests N       requests per connection (1); above 1 the header asks to keep the connection\n"
    "  -a, --auth AUTH        none, unix (default), direct:NAME, token:TOKEN\n"
    "  -p, --provider ID      provider (1)\n"
    "  -k, --key NAME         stem of key names (bench)\n"
    "  -K, --keep             leave the created key behind\n"
    "  -b, --payload N        bytes of input (64) or of random output (32)\n"
    "  -t, --timeout MS       time for one iteration (10000)\n"
    "  -D, --drain MS         time to end iterations after the measured time (10000)\n"
    "  -U, --uid UID          become this user and group first\n";

static void become(long uid) {
    uid_t parent = (uid_t)getppid();
    if (uid >= 0 && (setgroups(0, NULL) || setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid)
                     || setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid))) die("cannot become that user");
    /* After the change of user, which clears it: do not outlive the driver. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if ((uid_t)getppid() != parent) exit(1);
}

static void parse(int argc, char **argv) {
    static const struct option names[] = {
        {"socket", 1, 0, 's'}, {"op", 1, 0, 'o'}, {"clients", 1, 0, 'c'}, {"threads", 1, 0, 'j'}, {"seconds", 1, 0, 'd'}, {"warm-up", 1, 0, 'w'},
        {"count", 1, 0, 'n'}, {"requests", 1, 0, 'r'}, {"auth", 1, 0, 'a'}, {"provider", 1, 0, 'p'}, {"key", 1, 0, 'k'},
        {"keep", 0, 0, 'K'}, {"payload", 1, 0, 'b'}, {"timeout", 1, 0, 't'}, {"drain", 1, 0, 'D'}, {"uid", 1, 0, 'U'},
        {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
    const char *auth = "unix";
    for (int o; (o = getopt_long(argc, argv, "s:o:c:j:d:w:n:r:a:p:k:Kb:t:D:U:h", names, NULL)) != -1;) switch (o) {
        case 's': opt.socket = optarg; break;
        case 'o': opt.op = optarg; break;
        case 'c': opt.clients = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'j': opt.threads = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'd': opt.seconds = strtod(optarg, NULL); break;
        case 'w': opt.warm_up = strtod(optarg, NULL); break;
        case 'n': opt.count = strtol(optarg, NULL, 10); break;
        case 'r': opt.requests_per_connection = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'a': auth = optarg; break;
        case 'p': opt.provider = (uint8_t)strtoul(optarg, NULL, 10); break;
        case 'k': opt.key = optarg; break;
        case 'K': opt.keep = 1; break;
        case 'b': opt.payload = strtol(optarg, NULL, 10); break;
        case 't': opt.timeout_ms = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'D': opt.drain_ms = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'U': opt.uid = strtol(optarg, NULL, 10); break;
        default: fputs(usage, o == 'h' ? stdout : stderr); exit(o == 'h' ? 0 : 2);
    }
    become(opt.uid);
    if (!strcmp(auth, "none")) {
        opt.auth_type = 0;
    } else if (!strncmp(auth, "direct:", 7) && strlen(auth + 7) <= sizeof opt.auth) {
        opt.auth_type = 1;
        opt.auth_len = (uint16_t)strlen(auth + 7);
        memcpy(opt.auth, auth + 7, opt.auth_len);
    } else if (!strncmp(auth, "token:", 6) && strlen(auth + 6) <= sizeof opt.auth) {
        opt.auth_type = 4;
        opt.auth_len = (uint16_t)strlen(auth + 6);
        memcpy(opt.auth, auth + 6, opt.auth_len);
    } else if (!strcmp(auth, "unix")) {
        opt.auth_len = 4;
        put_le(opt.auth, getuid(), 4);
    } else {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    parse(argc, argv);
    if (!opt.clients || !opt.requests_per_connection || !plan_operation(opt.op)
        || ((plan.bulk || plan.numbering == ANY) && opt.count <= 0)) {
        fputs(usage, stderr);
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (!opt.threads || opt.threads > opt.clients) opt.threads = opt.clients;
    if (!strcmp(opt.op, "idle") || !strcmp(opt.op, "dribble")) {
        set_up_clients(opt.clients);
        hold(!strcmp(opt.op, "dribble"));
    } else {
        run();
    }
    return 0;
}

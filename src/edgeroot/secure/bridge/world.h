/* The emulated secure world as the bridge sees it: channels to endpoints, and memory that is shared with them.
 *
 * Functions that return an int give 0 or an errno, unless they say otherwise. */

#ifndef EDGEROOT_BRIDGE_WORLD_H
#define EDGEROOT_BRIDGE_WORLD_H

#include <pthread.h>
#include <stdint.h>

struct channel {
    pthread_mutex_t lock; /* held until an answer comes */
    int socket;
    uint16_t own_id, endpoint;
    uint64_t tag;
};

/* The number-th Trusted Services endpoint, as soon as it has started; ENOENT if there are fewer. */
int world_open(unsigned number, struct channel *channel);
void world_close(struct channel *channel);

/* A direct request and its answer: w3 to w7 there and back. */
int world_exchange(struct channel *channel, uint32_t words[5]);

/* FFA_MEM_SHARE of a sealed memory file of whole pages. */
int world_share(const struct channel *channel, int descriptor, uint64_t size_bytes, uint64_t *handle);
void world_reclaim(uint64_t handle);

/* In the child of a fork: the connection is the parent's. */
void world_forget(void);

/* The function of this name that the library stands before. */
void *next_symbol(const char *name);

#define NEXT(name) \
    ({ \
        static _Atomic(void *) known; \
        void *function = known; \
        if (function == NULL) \
            known = function = next_symbol(#name); \
        (__typeof__(&name))function; \
    })

#endif

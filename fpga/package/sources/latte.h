/* Driver of the LATTE attention core behind AXI: freestanding C11, no allocation.
 *
 *     latte_open -> latte_write_entry of each head -> latte_submit, any number -> latte_wait of each
 *
 * latte_ring.h has what drivers share.
 */
#ifndef LATTE_H
#define LATTE_H

#include "latte_ring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One job; addresses are the bus's, rows lie `stride` bytes apart. What must be aligned is in the guide. */
typedef struct {
    uint64_t q_address, k_address, v_address, o_address;
    uint32_t q_stride, k_stride, v_stride, o_stride;
    uint16_t head;
    uint16_t query_rows;  /* Queries to compute. */
    uint16_t load_rows;   /* Keys and values to load before. */
    bool fresh;           /* They begin a new sequence; else they are appended to the present one. */
    bool causal;          /* The queries are the last positions, each sees the keys up to its own. */
} latte_job;

/* Reset the core and begin; arguments are those of latte_begin. */
latte_result latte_open(latte_device *device, const latte_system *system, volatile void *ring, uint64_t ring_address,
                        unsigned ring_log2, bool interrupts);

/* Hand a job to the core, and return its number. Operands must be flushed, output rows must not be in a cache. */
latte_result latte_submit(latte_device *device, const latte_job *job, uint16_t *number);

#ifdef __cplusplus
}
#endif

#endif

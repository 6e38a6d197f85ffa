/* Driver of the LATTE attention core behind AXI: freestanding C11, no allocation.
 *
 * Registers and descriptors are those of latte_registers.h and latte_descriptor.h, which are generated with the
 * hardware; a driver that was compiled for another build or version is refused by latte_open.
 *
 *     latte_open -> latte_write_entry of each head -> latte_submit, any number -> latte_wait of each
 *
 * Not reentrant: one thread uses a device, except for latte_interrupt.
 */
#ifndef LATTE_H
#define LATTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latte_descriptor.h"
#include "latte_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    LATTE_OK = 0,
    LATTE_NO_CORE,        /* The register ID says that something else is there. */
    LATTE_OTHER_VERSION,  /* The core speaks another version of registers and descriptors. */
    LATTE_OTHER_BUILD,    /* The core is of another configuration: its results or its data have another form. */
    LATTE_BAD_RING,       /* The ring is not aligned, or too long. */
    LATTE_RING_FULL,      /* As many jobs are under way as the ring holds. */
    LATTE_WORD_LOST,      /* The core did not take a word of an entry in time: write the entry again. */
    LATTE_NO_ENTRY,       /* There is no such head, or it has another number of words. */
    LATTE_UNKNOWN_JOB,    /* The number is of no job, or its place in the ring was used again. */
    LATTE_JOB_FAILED,     /* The status word says why; other jobs are not touched. */
    LATTE_GAVE_UP         /* `pause` did not want to wait any longer. */
} latte_result;

/* What the driver needs of the system. All functions get `context` and must be there. */
typedef struct {
    void *context;
    /* Read or write a register, `offset` bytes from the first, in one access of 32 bits. */
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    /* Hand memory to the core: what was stored there is in memory before the next register is written. */
    void (*flush)(void *context, const volatile void *data, size_t bytes);
    /* Take memory back: what the core wrote there is seen by the next load. */
    void (*invalidate)(void *context, volatile void *data, size_t bytes);
    /* Called while the driver waits: returns at once, or sleeps until an interrupt; false ends the wait. */
    bool (*pause)(void *context);
} latte_system;

typedef struct {
    const latte_system *system;
    volatile uint32_t *ring;
    uint16_t slots;       /* Descriptors that the ring holds. */
    uint16_t submitted;   /* Descriptors so far, modulo 2**16. */
    uint16_t kept;        /* Of them, those whose status is still in the ring. */
    bool interrupts;
} latte_device;

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

/* Reset the core and begin.
 * ring, ring_address: memory for 2**ring_log2 descriptors, as the processor and as the bus see it, at a multiple of
 * sizeof(latte_descriptor_t).
 * interrupts: the interrupt line rises when a job is done; call latte_interrupt from its handler.
 */
latte_result latte_open(latte_device *device, const latte_system *system, volatile void *ring, uint64_t ring_address,
                        unsigned ring_log2, bool interrupts);

/* Write the register file's entry of a head: what its threshold, scale and gains are. */
latte_result latte_write_entry(latte_device *device, uint16_t head, const uint16_t *words, size_t count);

/* Hand a job to the core, and return its number. Operands must be flushed, output rows must not be in a cache. */
latte_result latte_submit(latte_device *device, const latte_job *job, uint16_t *number);

/* Whether a job is done. */
bool latte_is_done(latte_device *device, uint16_t number);

/* Wait until a job is done; `status`, if not null, receives its status word, bits of latte_descriptor STATUS. */
latte_result latte_wait(latte_device *device, uint16_t number, uint32_t *status);

/* Lower the interrupt line; return what happened, bits of INTERRUPT_STATUS. May interrupt any other function. */
uint32_t latte_interrupt(const latte_device *device);

/* Return bits of ERROR and clear them. */
uint32_t latte_errors(const latte_device *device);

/* Finish what is under way on the bus and stop: the ring's memory may be used for something else. */
latte_result latte_close(latte_device *device);

/* Read and write registers in the processor's memory, for latte_system; `context` is the address of the first one. */
uint32_t latte_mapped_read(void *context, uint32_t offset);
void latte_mapped_write(void *context, uint32_t offset, uint32_t value);

#ifdef __cplusplus
}
#endif

#endif

/* What the C drivers of LATTE cores share: registers, the ring of descriptors, the register file.
 *
 * Freestanding C11, no allocation. Registers and descriptors are those of latte_registers.h and latte_descriptor.h,
 * which are generated with the hardware; a driver that was compiled for another build or version is refused.
 *
 * Not reentrant: one thread uses a device, except for latte_interrupt.
 */
#ifndef LATTE_RING_H
#define LATTE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latte_descriptor.h"
#include "latte_registers.h"
#include "latte_types.h"

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
    LATTE_GAVE_UP,        /* `pause` did not want to wait any longer. */
    /* With keys in memory alone. */
    LATTE_NO_SLOT,        /* All slots hold a sequence: free one. */
    LATTE_NO_PAGES,       /* Too few pages are free: nothing has changed; free a sequence. */
    LATTE_TOO_LONG,       /* More keys than the longest sequence has. */
    LATTE_FREED,          /* The sequence was freed, or never opened. */
    LATTE_LOST            /* Its record may be written in part: free the sequence, and append its rows to another. */
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
    uint64_t ring_address;
    uint8_t ring_log2;
    uint16_t slots;       /* Descriptors that the ring holds. */
    uint16_t submitted;   /* Descriptors so far, modulo 2**16. */
    uint16_t kept;        /* Of them, those whose status is still in the ring. */
    bool interrupts;
} latte_device;

/* For drivers. Reset the core and tell it where the ring lies: begin with latte_enable.
 * ring, ring_address: memory for 2**ring_log2 descriptors, as the processor and as the bus see it, at a multiple of
 * sizeof(latte_descriptor_t).
 * interrupts: the interrupt line rises when a job is done; call latte_interrupt from its handler.
 */
latte_result latte_begin(latte_device *device, const latte_system *system, volatile void *ring, uint64_t ring_address,
                         unsigned ring_log2, bool interrupts);
void latte_enable(const latte_device *device);

/* For drivers. Reset the core, forget all jobs, and leave it disabled; the register file is empty then. */
latte_result latte_reset(latte_device *device);

/* For drivers. The words of the next job's descriptor, all 0; none if the ring is full. Then hand it to the core. */
volatile uint32_t *latte_next(const latte_device *device);
void latte_put_address(volatile uint32_t *words, uint64_t address);
uint16_t latte_ring_bell(latte_device *device);

/* For drivers. Read and write a register. */
uint32_t latte_read(const latte_device *device, uint32_t offset);
void latte_write(const latte_device *device, uint32_t offset, uint32_t value);
#define LATTE_REGISTER(name) ((uint32_t)offsetof(latte_registers_t, name))
#define LATTE_WORD(name) (offsetof(latte_descriptor_t, name) / sizeof(uint32_t))

/* Write the register file's entry of a head: what its threshold, scale and gains are. */
latte_result latte_write_entry(latte_device *device, uint16_t head, const uint16_t *words, size_t count);

/* Whether a job is done. */
bool latte_is_done(latte_device *device, uint16_t number);

/* How many jobs are not done. */
uint16_t latte_under_way(const latte_device *device);

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

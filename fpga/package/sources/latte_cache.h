/* Driver of the LATTE attention core with keys in memory behind AXI: freestanding C11, no allocation.
 *
 *     latte_cache_open -> latte_write_entry of each head -> latte_sequence_open
 *         -> latte_cache_submit, any number -> latte_cache_wait of each -> latte_sequence_free
 *
 * A sequence is the cache of one head of keys of one attention block. The driver keeps records, page tables and pages;
 * latte_ring.h has what drivers share, for `device` of a latte_cache.
 */
#ifndef LATTE_CACHE_H
#define LATTE_CACHE_H

#include "latte_record.h"
#include "latte_ring.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LATTE_SLOTS LATTE_REGISTERS__SLOTS__NUMBER_reset
#define LATTE_PAGE_ROWS LATTE_REGISTERS__PAGE__ROWS_reset
#define LATTE_PAGE_BYTES LATTE_REGISTERS__PAGE__BYTES_reset
#define LATTE_SPILL_BYTES LATTE_REGISTERS__SPILL__BYTES_reset
/* Records share cache lines with each other, but not with page tables: the core writes records alone. */
#define LATTE_LINE_BYTES 64u
#define LATTE_BEAT_BYTES (LATTE_REGISTERS__BUS__DATA_BITS_reset / 8u)
#define LATTE_PADDED(bytes, to) (((bytes) + (to) - 1u) / (to) * (to))
#define LATTE_TABLE_OFFSET LATTE_PADDED(LATTE_SLOTS * LATTE_REGISTERS__RECORD__BYTES_reset, LATTE_LINE_BYTES)
#define LATTE_TABLE_BYTES \
    LATTE_PADDED(sizeof(uint32_t) * ((LATTE_REGISTERS__KEYS__MOST_reset + LATTE_PAGE_ROWS - 1u) / LATTE_PAGE_ROWS), \
                 LATTE_BEAT_BYTES)
/* Of the area `records`. */
#define LATTE_RECORDS_BYTES (LATTE_TABLE_OFFSET + LATTE_SLOTS * LATTE_TABLE_BYTES)

/* Memory as the processor and as the bus see it. */
typedef struct {
    volatile void *at;
    uint64_t address;
} latte_area;

/* All of it at multiples of LATTE_LINE_BYTES. Only m_axi uses the ring, only m_axi_cache all else. */
typedef struct {
    latte_area ring;      /* sizeof(latte_descriptor_t) << ring_log2 bytes. */
    latte_area records;   /* LATTE_RECORDS_BYTES: records and page tables. */
    uint64_t pages;       /* page_count * LATTE_PAGE_BYTES, which only the core uses. */
    uint64_t spill;       /* LATTE_SPILL_BYTES, which only the core uses. */
    uint32_t page_count;  /* Pages of all sequences together. */
    uint32_t *links;      /* page_count numbers, which only the driver uses. */
} latte_cache_memory;

typedef struct {
    latte_device device;
    latte_cache_memory memory;
    uint32_t first_free;  /* Number of a free page plus 1; 0: there is none. */
    uint32_t free_pages;
} latte_cache;

typedef struct {
    uint16_t slot, generation;
    uint32_t length;      /* Keys, those of jobs under way included. */
    uint32_t pages;
    bool live;
    bool lost;            /* Its record may be written in part: free it. */
} latte_sequence;

/* One job; addresses are the bus's. Positions of Q and O lie a stride apart, rows of their heads one behind the other.
 * No queries: rows are appended. One query and at most one row: a token. Else a prompt.
 */
typedef struct {
    uint64_t q_address, k_address, v_address, o_address;
    uint32_t q_stride, kv_stride, o_stride;
    uint16_t head;        /* Entry of the first query head; the others have the next ones. */
    uint16_t heads;       /* Query heads that share the keys. */
    uint16_t queries;     /* Positions to ask, the last ones. */
    uint16_t rows;        /* Keys and values to append before. */
} latte_cache_job;

/* Reset the core and begin, without sequences; the other arguments are those of latte_begin. */
latte_result latte_cache_open(latte_cache *cache, const latte_system *system, const latte_cache_memory *memory,
                              unsigned ring_log2, bool interrupts);

/* Give up what is under way, and begin anew with the same sequences; the register file is empty then.
 * A sequence to which a job was appending may be written in part: the caller sets its `lost`, and frees it.
 */
latte_result latte_cache_reset(latte_cache *cache);

/* Begin a sequence without keys and pages; waits until no job is under way. */
latte_result latte_sequence_open(latte_cache *cache, latte_sequence *sequence);

/* Give a sequence pages for so many keys in all. */
latte_result latte_sequence_reserve(latte_cache *cache, latte_sequence *sequence, uint32_t keys);

/* End a sequence, a lost one as well; its slot and pages can be had again. Waits until no job is under way. */
latte_result latte_sequence_free(latte_cache *cache, latte_sequence *sequence);

/* Reserve pages for a job, hand it to the core, and return its number. Operands must be flushed, output rows must not
 * be in a cache. Unless the result is LATTE_OK, nothing was handed over.
 */
latte_result latte_cache_submit(latte_cache *cache, latte_sequence *sequence, const latte_cache_job *job,
                                uint16_t *number);

/* Wait until a job is done; once for each job, in any order. `status`, if not null, receives its status word.
 * Of a job that failed, the length of its sequence no longer counts the rows, unless they were appended.
 */
latte_result latte_cache_wait(latte_cache *cache, latte_sequence *sequence, const latte_cache_job *job,
                              uint16_t number, uint32_t *status);

#ifdef __cplusplus
}
#endif

#endif

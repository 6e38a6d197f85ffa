/* See latte_cache.h. */
#include "latte_cache.h"

#define RECORD_BYTES LATTE_REGISTERS__RECORD__BYTES_reset
/* Errors of rows that spoil outputs alone: the rows were appended. */
#define SPOILED (LATTE_DESCRIPTOR__STATUS__READ_FAILED_bm | LATTE_DESCRIPTOR__STATUS__WRITE_FAILED_bm)
#define FIELDS (LATTE_DESCRIPTOR__STATUS__NUMBER_bm | LATTE_DESCRIPTOR__STATUS__DONE_bm \
                | LATTE_DESCRIPTOR__STATUS__ERROR_bm)

static volatile uint8_t *record_of(const latte_cache *cache, uint32_t slot)
{
    return (volatile uint8_t *)cache->memory.records.at + slot * RECORD_BYTES;
}

static volatile uint32_t *table_of(const latte_cache *cache, uint32_t slot)
{
    return (volatile uint32_t *)((volatile uint8_t *)cache->memory.records.at + LATTE_TABLE_OFFSET
                                 + slot * LATTE_TABLE_BYTES);
}

static void flush(const latte_cache *cache, const volatile void *data, size_t bytes)
{
    const latte_system *system = cache->device.system;

    system->flush(system->context, data, bytes);
}

static uint32_t name_of(const latte_cache *cache, uint32_t slot)
{
    return *(volatile uint32_t *)record_of(cache, slot);
}

/* Write the record of a slot, all but these fields 0. What lies beside it in a cache line is the core's. */
static void write_record(const latte_cache *cache, uint32_t slot, uint32_t name, uint64_t table)
{
    const latte_system *system = cache->device.system;
    size_t first = slot * RECORD_BYTES / LATTE_LINE_BYTES * LATTE_LINE_BYTES;
    size_t end = LATTE_PADDED((slot + 1u) * RECORD_BYTES, LATTE_LINE_BYTES);
    volatile uint8_t *around = (volatile uint8_t *)cache->memory.records.at + first;
    volatile uint32_t *words = (volatile uint32_t *)record_of(cache, slot);
    size_t word;

    system->invalidate(system->context, around, end - first);
    for (word = 0; word < RECORD_BYTES / sizeof(uint32_t); word++)
        words[word] = 0;
    words[offsetof(latte_record_t, NAME) / sizeof(uint32_t)] = name;
    latte_put_address(words + offsetof(latte_record_t, TABLE_ADDRESS) / sizeof(uint32_t), table);
    flush(cache, around, end - first);
}

static latte_result drain(const latte_cache *cache)
{
    const latte_system *system = cache->device.system;

    while (latte_under_way(&cache->device))
        if (!system->pause(system->context))
            return LATTE_GAVE_UP;
    return LATTE_OK;
}

static void begin(const latte_cache *cache)
{
    const latte_cache_memory *memory = &cache->memory;
    const latte_device *device = &cache->device;

    latte_write(device, LATTE_REGISTER(RECORD_BASE_LOW), (uint32_t)memory->records.address);
    latte_write(device, LATTE_REGISTER(RECORD_BASE_HIGH), (uint32_t)(memory->records.address >> 32));
    latte_write(device, LATTE_REGISTER(PAGE_BASE_LOW), (uint32_t)memory->pages);
    latte_write(device, LATTE_REGISTER(PAGE_BASE_HIGH), (uint32_t)(memory->pages >> 32));
    latte_write(device, LATTE_REGISTER(SPILL_BASE_LOW), (uint32_t)memory->spill);
    latte_write(device, LATTE_REGISTER(SPILL_BASE_HIGH), (uint32_t)(memory->spill >> 32));
    latte_enable(device);
}

latte_result latte_cache_open(latte_cache *cache, const latte_system *system, const latte_cache_memory *memory,
                              unsigned ring_log2, bool interrupts)
{
    volatile uint32_t *words = (volatile uint32_t *)memory->records.at;
    latte_device *device = &cache->device;
    latte_result result;
    size_t word;
    uint32_t page;

    cache->memory = *memory;
    if ((memory->records.address | memory->pages | memory->spill) % LATTE_LINE_BYTES)
        return LATTE_BAD_RING;
    result = latte_begin(device, system, memory->ring.at, memory->ring.address, ring_log2, interrupts);
    if (result != LATTE_OK)
        return result;
    /* What decides no bits is not in the fingerprint, but in the sizes that the caller gave memory for. */
    if (latte_read(device, LATTE_REGISTER(SLOTS)) != LATTE_SLOTS
        || latte_read(device, LATTE_REGISTER(SPILL)) != LATTE_SPILL_BYTES
        || latte_read(device, LATTE_REGISTER(KEYS)) != LATTE_REGISTERS__KEYS__MOST_reset)
        return LATTE_OTHER_BUILD;
    for (word = 0; word < LATTE_RECORDS_BYTES / sizeof(uint32_t); word++)
        words[word] = 0;
    flush(cache, words, LATTE_RECORDS_BYTES);
    cache->free_pages = memory->page_count;
    cache->first_free = 0;
    for (page = memory->page_count; page > 0; page--) {
        memory->links[page - 1] = cache->first_free;
        cache->first_free = page;
    }
    begin(cache);
    return LATTE_OK;
}

latte_result latte_cache_reset(latte_cache *cache)
{
    latte_result result = latte_reset(&cache->device);

    if (result == LATTE_OK)
        begin(cache);
    return result;
}

latte_result latte_sequence_open(latte_cache *cache, latte_sequence *sequence)
{
    latte_result result = drain(cache);
    volatile uint32_t *table;
    uint32_t slot;
    size_t entry;

    sequence->live = false;
    if (result != LATTE_OK)
        return result;
    for (slot = 0; name_of(cache, slot) & LATTE_RECORD__NAME__LIVE_bm;)
        if (++slot == LATTE_SLOTS)
            return LATTE_NO_SLOT;
    sequence->slot = (uint16_t)slot;
    sequence->generation = (uint16_t)((name_of(cache, slot) >> LATTE_RECORD__NAME__GENERATION_bp) + 1u);
    sequence->length = sequence->pages = 0;
    sequence->live = true;
    sequence->lost = false;
    table = table_of(cache, slot);
    for (entry = 0; entry < LATTE_TABLE_BYTES / sizeof(uint32_t); entry++)
        table[entry] = 0;
    flush(cache, table, LATTE_TABLE_BYTES);
    write_record(cache, slot, LATTE_RECORD__NAME__LIVE_bm
                 | (uint32_t)sequence->generation << LATTE_RECORD__NAME__GENERATION_bp,
                 cache->memory.records.address + LATTE_TABLE_OFFSET + slot * LATTE_TABLE_BYTES);
    return LATTE_OK;
}

latte_result latte_sequence_reserve(latte_cache *cache, latte_sequence *sequence, uint32_t keys)
{
    volatile uint32_t *table = table_of(cache, sequence->slot);
    uint32_t first = sequence->pages, pages = keys / LATTE_PAGE_ROWS + (keys % LATTE_PAGE_ROWS != 0);

    if (!sequence->live)
        return LATTE_FREED;
    if (sequence->lost)
        return LATTE_LOST;
    if (keys > LATTE_REGISTERS__KEYS__MOST_reset)
        return LATTE_TOO_LONG;
    if (pages <= first)
        return LATTE_OK;
    if (pages - first > cache->free_pages)
        return LATTE_NO_PAGES;
    cache->free_pages -= pages - first;
    for (; sequence->pages < pages; sequence->pages++) {
        table[sequence->pages] = cache->first_free;
        cache->first_free = cache->memory.links[cache->first_free - 1];
    }
    flush(cache, table + first, (pages - first) * sizeof(uint32_t));
    return LATTE_OK;
}

latte_result latte_sequence_free(latte_cache *cache, latte_sequence *sequence)
{
    volatile uint32_t *table = table_of(cache, sequence->slot);
    latte_result result;
    uint32_t page;

    if (!sequence->live)
        return LATTE_FREED;
    result = drain(cache);
    if (result != LATTE_OK)
        return result;
    write_record(cache, sequence->slot, (uint32_t)sequence->generation << LATTE_RECORD__NAME__GENERATION_bp, 0);
    for (; sequence->pages > 0; sequence->pages--) {
        page = table[sequence->pages - 1];
        cache->memory.links[page - 1] = cache->first_free;
        cache->first_free = page;
        cache->free_pages++;
    }
    sequence->live = false;
    return LATTE_OK;
}

latte_result latte_cache_submit(latte_cache *cache, latte_sequence *sequence, const latte_cache_job *job,
                                uint16_t *number)
{
    latte_device *device = &cache->device;
    latte_result result = latte_sequence_reserve(cache, sequence, sequence->length + job->rows);
    volatile uint32_t *words;
    uint32_t type = LATTE_TYPE_PREFILL;

    if (result != LATTE_OK)
        return result;
    words = latte_next(device);
    if (!words)
        return LATTE_RING_FULL;
    if (!job->queries)
        type = LATTE_TYPE_APPEND;
    else if (job->queries == 1 && job->rows <= 1)
        type = LATTE_TYPE_DECODE;
    words[LATTE_WORD(JOB)] = type << LATTE_DESCRIPTOR__JOB__TYPE_bp
                             | (uint32_t)device->interrupts << LATTE_DESCRIPTOR__JOB__INTERRUPT_bp
                             | (uint32_t)job->head << LATTE_DESCRIPTOR__JOB__HEAD_bp;
    words[LATTE_WORD(ROWS)] = (uint32_t)job->queries << LATTE_DESCRIPTOR__ROWS__QUERIES_bp
                              | (uint32_t)job->rows << LATTE_DESCRIPTOR__ROWS__ROWS_bp;
    words[LATTE_WORD(SEQUENCE)] = (uint32_t)sequence->slot << LATTE_DESCRIPTOR__SEQUENCE__SLOT_bp
                                  | (uint32_t)sequence->generation << LATTE_DESCRIPTOR__SEQUENCE__GENERATION_bp;
    latte_put_address(words + LATTE_WORD(Q_ADDRESS), job->q_address);
    latte_put_address(words + LATTE_WORD(K_ADDRESS), job->k_address);
    latte_put_address(words + LATTE_WORD(V_ADDRESS), job->v_address);
    latte_put_address(words + LATTE_WORD(O_ADDRESS), job->o_address);
    words[LATTE_WORD(Q_STRIDE)] = job->q_stride;
    words[LATTE_WORD(KV_STRIDE)] = job->kv_stride;
    words[LATTE_WORD(O_STRIDE)] = job->o_stride;
    words[LATTE_WORD(HEADS)] = (uint32_t)job->heads << LATTE_DESCRIPTOR__HEADS__HEADS_bp;
    sequence->length += job->rows;
    *number = latte_ring_bell(device);
    return LATTE_OK;
}

latte_result latte_cache_wait(latte_cache *cache, latte_sequence *sequence, const latte_cache_job *job,
                              uint16_t number, uint32_t *status)
{
    uint32_t word = 0, causes;
    latte_result result = latte_wait(&cache->device, number, &word);

    if (status)
        *status = word;
    if (result != LATTE_JOB_FAILED || !job->rows)
        return result;
    causes = word & ~FIELDS;
    if (!word || causes & ~SPOILED)
        sequence->length -= job->rows;
    /* Rows that could not be read leave the record alone; else the error may be that of writing it. */
    if (!word || (causes & LATTE_DESCRIPTOR__STATUS__FAILED_MEMORY_ERROR_bm
                  && !(causes & LATTE_DESCRIPTOR__STATUS__READ_FAILED_bm)))
        sequence->lost = true;
    return result;
}

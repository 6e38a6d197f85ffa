/* See latte.h. */
#include "latte.h"

#define REGISTER(name) ((uint32_t)offsetof(latte_registers_t, name))
#define WORD(name) (offsetof(latte_descriptor_t, name) / sizeof(uint32_t))
#define WORDS (sizeof(latte_descriptor_t) / sizeof(uint32_t))
#define RING_LOG2_MAX ((1u << LATTE_REGISTERS__RING_SIZE__LOG2_bw) - 1u)

static uint32_t read_register(const latte_device *device, uint32_t offset)
{
    return device->system->read(device->system->context, offset);
}

static void write_register(const latte_device *device, uint32_t offset, uint32_t value)
{
    device->system->write(device->system->context, offset, value);
}

static volatile uint32_t *slot(const latte_device *device, uint16_t number)
{
    return device->ring + WORDS * (number & (device->slots - 1u));
}

static latte_result reset(const latte_device *device)
{
    write_register(device, REGISTER(CONTROL), LATTE_REGISTERS__CONTROL__SOFT_RESET_bm);
    while (read_register(device, REGISTER(STATUS)) & LATTE_REGISTERS__STATUS__RESETTING_bm)
        if (!device->system->pause(device->system->context))
            return LATTE_GAVE_UP;
    return LATTE_OK;
}

latte_result latte_open(latte_device *device, const latte_system *system, volatile void *ring, uint64_t ring_address,
                        unsigned ring_log2, bool interrupts)
{
    latte_result result;

    device->system = system;
    device->ring = (volatile uint32_t *)ring;
    device->submitted = 0;
    device->kept = 0;
    device->interrupts = interrupts;
    if (read_register(device, REGISTER(ID)) != LATTE_REGISTERS__ID__MAGIC_reset)
        return LATTE_NO_CORE;
    if (read_register(device, REGISTER(VERSION)) != LATTE_REGISTERS__VERSION__VERSION_reset)
        return LATTE_OTHER_VERSION;
    if (read_register(device, REGISTER(FINGERPRINT)) != LATTE_REGISTERS__FINGERPRINT__FINGERPRINT_reset)
        return LATTE_OTHER_BUILD;
    if (ring_log2 > RING_LOG2_MAX || ring_address % sizeof(latte_descriptor_t))
        return LATTE_BAD_RING;
    device->slots = (uint16_t)(1u << ring_log2);
    result = reset(device);
    if (result != LATTE_OK)
        return result;
    write_register(device, REGISTER(CONTROL), LATTE_REGISTERS__CONTROL__CLEAR_bm);
    latte_errors(device);
    latte_interrupt(device);
    write_register(device, REGISTER(RING_BASE_LOW), (uint32_t)ring_address);
    write_register(device, REGISTER(RING_BASE_HIGH), (uint32_t)(ring_address >> 32));
    write_register(device, REGISTER(RING_SIZE), ring_log2);
    write_register(device, REGISTER(INTERRUPT_ENABLE),
          interrupts ? LATTE_REGISTERS__INTERRUPT_ENABLE__DESCRIPTOR_DONE_bm : 0u);
    write_register(device, REGISTER(CONTROL), LATTE_REGISTERS__CONTROL__ENABLE_bm);
    return LATTE_OK;
}

latte_result latte_write_entry(latte_device *device, uint16_t head, const uint16_t *words, size_t count)
{
    size_t word;

    if (head >= LATTE_REGISTERS__PARAMETERS__HEADS_reset || count != LATTE_REGISTERS__PARAMETERS__ENTRY_WORDS_reset)
        return LATTE_NO_ENTRY;
    write_register(device, REGISTER(PARAMETER_SELECT), (uint32_t)head << LATTE_REGISTERS__PARAMETER_SELECT__HEAD_bp);
    for (word = 0; word < count; word++)
        write_register(device, REGISTER(PARAMETER_DATA), words[word]);
    if (read_register(device, REGISTER(ERROR)) & LATTE_REGISTERS__ERROR__PARAMETER_LOST_bm) {
        write_register(device, REGISTER(ERROR), LATTE_REGISTERS__ERROR__PARAMETER_LOST_bm);
        return LATTE_WORD_LOST;
    }
    return LATTE_OK;
}

static uint16_t under_way(const latte_device *device)
{
    return (uint16_t)(device->submitted - read_register(device, REGISTER(RING_TAIL)));
}

static void put_address(volatile uint32_t *words, uint64_t address)
{
    words[0] = (uint32_t)address;
    words[1] = (uint32_t)(address >> 32);
}

latte_result latte_submit(latte_device *device, const latte_job *job, uint16_t *number)
{
    volatile uint32_t *words = slot(device, device->submitted);

    if (under_way(device) >= device->slots)
        return LATTE_RING_FULL;
    words[WORD(JOB)] = (uint32_t)LATTE_DESCRIPTOR__JOB__TYPE_reset << LATTE_DESCRIPTOR__JOB__TYPE_bp
                       | (uint32_t)job->fresh << LATTE_DESCRIPTOR__JOB__FRESH_bp
                       | (uint32_t)job->causal << LATTE_DESCRIPTOR__JOB__CAUSAL_bp
                       | (uint32_t)device->interrupts << LATTE_DESCRIPTOR__JOB__INTERRUPT_bp
                       | (uint32_t)job->head << LATTE_DESCRIPTOR__JOB__HEAD_bp;
    words[WORD(ROWS)] = (uint32_t)job->query_rows << LATTE_DESCRIPTOR__ROWS__QUERY_ROWS_bp
                        | (uint32_t)job->load_rows << LATTE_DESCRIPTOR__ROWS__LOAD_ROWS_bp;
    words[WORD(STATUS)] = 0;
    words[WORD(RESERVED_WORD)] = 0;
    put_address(words + WORD(Q_ADDRESS), job->q_address);
    put_address(words + WORD(K_ADDRESS), job->k_address);
    put_address(words + WORD(V_ADDRESS), job->v_address);
    put_address(words + WORD(O_ADDRESS), job->o_address);
    words[WORD(Q_STRIDE)] = job->q_stride;
    words[WORD(K_STRIDE)] = job->k_stride;
    words[WORD(V_STRIDE)] = job->v_stride;
    words[WORD(O_STRIDE)] = job->o_stride;
    device->system->flush(device->system->context, words, sizeof(latte_descriptor_t));
    *number = device->submitted++;
    if (device->kept < device->slots)
        device->kept++;
    write_register(device, REGISTER(RING_HEAD), device->submitted);
    return LATTE_OK;
}

bool latte_is_done(latte_device *device, uint16_t number)
{
    return (uint16_t)(device->submitted - number) > under_way(device);
}

latte_result latte_wait(latte_device *device, uint16_t number, uint32_t *status)
{
    volatile uint32_t *words = slot(device, number);
    uint16_t back = (uint16_t)(device->submitted - number);
    uint32_t value;

    if (back == 0 || back > device->kept)
        return LATTE_UNKNOWN_JOB;
    while (!latte_is_done(device, number))
        if (!device->system->pause(device->system->context))
            return LATTE_GAVE_UP;
    device->system->invalidate(device->system->context, words, sizeof(latte_descriptor_t));
    value = words[WORD(STATUS)];
    if (status)
        *status = value;
    return value & LATTE_DESCRIPTOR__STATUS__ERROR_bm ? LATTE_JOB_FAILED : LATTE_OK;
}

uint32_t latte_interrupt(const latte_device *device)
{
    uint32_t happened = read_register(device, REGISTER(INTERRUPT_STATUS));

    write_register(device, REGISTER(INTERRUPT_STATUS), happened);
    return happened;
}

uint32_t latte_errors(const latte_device *device)
{
    uint32_t errors = read_register(device, REGISTER(ERROR));

    write_register(device, REGISTER(ERROR), errors);
    return errors;
}

latte_result latte_close(latte_device *device)
{
    write_register(device, REGISTER(INTERRUPT_ENABLE), 0);
    return reset(device);
}

uint32_t latte_mapped_read(void *context, uint32_t offset)
{
    return *(volatile uint32_t *)((volatile unsigned char *)context + offset);
}

void latte_mapped_write(void *context, uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)((volatile unsigned char *)context + offset) = value;
}

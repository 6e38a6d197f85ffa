/* See latte_ring.h. */
#include "latte_ring.h"

#define WORDS (sizeof(latte_descriptor_t) / sizeof(uint32_t))
#define RING_LOG2_MAX ((1u << LATTE_REGISTERS__RING_SIZE__LOG2_bw) - 1u)

uint32_t latte_read(const latte_device *device, uint32_t offset)
{
    return device->system->read(device->system->context, offset);
}

void latte_write(const latte_device *device, uint32_t offset, uint32_t value)
{
    device->system->write(device->system->context, offset, value);
}

static volatile uint32_t *slot(const latte_device *device, uint16_t number)
{
    return device->ring + WORDS * (number & (device->slots - 1u));
}

static latte_result reset(const latte_device *device)
{
    latte_write(device, LATTE_REGISTER(CONTROL), LATTE_REGISTERS__CONTROL__SOFT_RESET_bm);
    while (latte_read(device, LATTE_REGISTER(STATUS)) & LATTE_REGISTERS__STATUS__RESETTING_bm)
        if (!device->system->pause(device->system->context))
            return LATTE_GAVE_UP;
    return LATTE_OK;
}

/* Tell the core where the ring lies, and what may interrupt; it is reset and not enabled. */
static void prepare(latte_device *device)
{
    device->submitted = 0;
    device->kept = 0;
    latte_write(device, LATTE_REGISTER(CONTROL), LATTE_REGISTERS__CONTROL__CLEAR_bm);
    latte_errors(device);
    latte_interrupt(device);
    latte_write(device, LATTE_REGISTER(RING_BASE_LOW), (uint32_t)device->ring_address);
    latte_write(device, LATTE_REGISTER(RING_BASE_HIGH), (uint32_t)(device->ring_address >> 32));
    latte_write(device, LATTE_REGISTER(RING_SIZE), device->ring_log2);
    /* A descriptor that could not be read asks for no interrupt, but is an error. */
    latte_write(device, LATTE_REGISTER(INTERRUPT_ENABLE),
                device->interrupts ? LATTE_REGISTERS__INTERRUPT_ENABLE__DESCRIPTOR_DONE_bm
                                     | LATTE_REGISTERS__INTERRUPT_ENABLE__ERROR_bm : 0u);
}

latte_result latte_begin(latte_device *device, const latte_system *system, volatile void *ring, uint64_t ring_address,
                         unsigned ring_log2, bool interrupts)
{
    device->system = system;
    device->ring = (volatile uint32_t *)ring;
    device->ring_address = ring_address;
    device->interrupts = interrupts;
    if (latte_read(device, LATTE_REGISTER(ID)) != LATTE_REGISTERS__ID__MAGIC_reset)
        return LATTE_NO_CORE;
    if (latte_read(device, LATTE_REGISTER(VERSION)) != LATTE_REGISTERS__VERSION__VERSION_reset)
        return LATTE_OTHER_VERSION;
    if (latte_read(device, LATTE_REGISTER(FINGERPRINT)) != LATTE_REGISTERS__FINGERPRINT__FINGERPRINT_reset)
        return LATTE_OTHER_BUILD;
    if (ring_log2 > RING_LOG2_MAX || ring_address % sizeof(latte_descriptor_t))
        return LATTE_BAD_RING;
    device->ring_log2 = (uint8_t)ring_log2;
    device->slots = (uint16_t)(1u << ring_log2);
    return latte_reset(device);
}

void latte_enable(const latte_device *device)
{
    latte_write(device, LATTE_REGISTER(CONTROL), LATTE_REGISTERS__CONTROL__ENABLE_bm);
}

latte_result latte_reset(latte_device *device)
{
    latte_result result = reset(device);

    if (result == LATTE_OK)
        prepare(device);
    return result;
}

latte_result latte_write_entry(latte_device *device, uint16_t head, const uint16_t *words, size_t count)
{
    size_t word;

    if (head >= LATTE_REGISTERS__PARAMETERS__HEADS_reset || count != LATTE_REGISTERS__PARAMETERS__ENTRY_WORDS_reset)
        return LATTE_NO_ENTRY;
    latte_write(device, LATTE_REGISTER(PARAMETER_SELECT), (uint32_t)head << LATTE_REGISTERS__PARAMETER_SELECT__HEAD_bp);
    for (word = 0; word < count; word++)
        latte_write(device, LATTE_REGISTER(PARAMETER_DATA), words[word]);
    if (latte_read(device, LATTE_REGISTER(ERROR)) & LATTE_REGISTERS__ERROR__PARAMETER_LOST_bm) {
        latte_write(device, LATTE_REGISTER(ERROR), LATTE_REGISTERS__ERROR__PARAMETER_LOST_bm);
        return LATTE_WORD_LOST;
    }
    return LATTE_OK;
}

uint16_t latte_under_way(const latte_device *device)
{
    return (uint16_t)(device->submitted - latte_read(device, LATTE_REGISTER(RING_TAIL)));
}

volatile uint32_t *latte_next(const latte_device *device)
{
    volatile uint32_t *words = slot(device, device->submitted);
    size_t word;

    if (latte_under_way(device) >= device->slots)
        return NULL;
    for (word = 0; word < WORDS; word++)
        words[word] = 0;
    return words;
}

void latte_put_address(volatile uint32_t *words, uint64_t address)
{
    words[0] = (uint32_t)address;
    words[1] = (uint32_t)(address >> 32);
}

uint16_t latte_ring_bell(latte_device *device)
{
    uint16_t number = device->submitted++;

    device->system->flush(device->system->context, slot(device, number), sizeof(latte_descriptor_t));
    if (device->kept < device->slots)
        device->kept++;
    latte_write(device, LATTE_REGISTER(RING_HEAD), device->submitted);
    return number;
}

bool latte_is_done(latte_device *device, uint16_t number)
{
    return (uint16_t)(device->submitted - number) > latte_under_way(device);
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
    value = words[LATTE_WORD(STATUS)];
    if (status)
        *status = value;
    /* Without `done` the word could not be written. */
    return (value & (LATTE_DESCRIPTOR__STATUS__DONE_bm | LATTE_DESCRIPTOR__STATUS__ERROR_bm))
           == LATTE_DESCRIPTOR__STATUS__DONE_bm ? LATTE_OK : LATTE_JOB_FAILED;
}

uint32_t latte_interrupt(const latte_device *device)
{
    uint32_t happened = latte_read(device, LATTE_REGISTER(INTERRUPT_STATUS));

    latte_write(device, LATTE_REGISTER(INTERRUPT_STATUS), happened);
    return happened;
}

uint32_t latte_errors(const latte_device *device)
{
    uint32_t errors = latte_read(device, LATTE_REGISTER(ERROR));

    latte_write(device, LATTE_REGISTER(ERROR), errors);
    return errors;
}

latte_result latte_close(latte_device *device)
{
    latte_write(device, LATTE_REGISTER(INTERRUPT_ENABLE), 0);
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

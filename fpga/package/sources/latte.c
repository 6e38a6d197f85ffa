/* See latte.h. */
#include "latte.h"

latte_result latte_open(latte_device *device, const latte_system *system, volatile void *ring, uint64_t ring_address,
                        unsigned ring_log2, bool interrupts)
{
    latte_result result = latte_begin(device, system, ring, ring_address, ring_log2, interrupts);

    if (result == LATTE_OK)
        latte_enable(device);
    return result;
}

latte_result latte_submit(latte_device *device, const latte_job *job, uint16_t *number)
{
    volatile uint32_t *words = latte_next(device);

    if (!words)
        return LATTE_RING_FULL;
    words[LATTE_WORD(JOB)] = LATTE_TYPE_JOB << LATTE_DESCRIPTOR__JOB__TYPE_bp
                             | (uint32_t)job->fresh << LATTE_DESCRIPTOR__JOB__FRESH_bp
                             | (uint32_t)job->causal << LATTE_DESCRIPTOR__JOB__CAUSAL_bp
                             | (uint32_t)device->interrupts << LATTE_DESCRIPTOR__JOB__INTERRUPT_bp
                             | (uint32_t)job->head << LATTE_DESCRIPTOR__JOB__HEAD_bp;
    words[LATTE_WORD(ROWS)] = (uint32_t)job->query_rows << LATTE_DESCRIPTOR__ROWS__QUERY_ROWS_bp
                              | (uint32_t)job->load_rows << LATTE_DESCRIPTOR__ROWS__LOAD_ROWS_bp;
    latte_put_address(words + LATTE_WORD(Q_ADDRESS), job->q_address);
    latte_put_address(words + LATTE_WORD(K_ADDRESS), job->k_address);
    latte_put_address(words + LATTE_WORD(V_ADDRESS), job->v_address);
    latte_put_address(words + LATTE_WORD(O_ADDRESS), job->o_address);
    words[LATTE_WORD(Q_STRIDE)] = job->q_stride;
    words[LATTE_WORD(K_STRIDE)] = job->k_stride;
    words[LATTE_WORD(V_STRIDE)] = job->v_stride;
    words[LATTE_WORD(O_STRIDE)] = job->o_stride;
    *number = latte_ring_bell(device);
    return LATTE_OK;
}

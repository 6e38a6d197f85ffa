// The C driver runs the head of head.h, and every output code is compared. bench_run.h says what a System is.

#ifndef RUN_HEAD_H
#define RUN_HEAD_H

#include "bench_run.h"
#include "latte.h"

constexpr size_t kMemoryBytes = 1 << 18;

template <class System>
class HeadRun : BenchRun<System> {
public:
    HeadRun(System &system, bool interrupt) : BenchRun<System>(system, device_, interrupt) {}

    // Runs the head, and before it a job that cannot be carried out; returns whether all is as it should be.
    bool run(bool interrupt) {
        uint8_t *const memory = system_.memory();
        std::memset(memory, 0, kMemoryBytes);
        if (!expect(latte_open(&device_, &this->calls_, memory, system_.bus_address(memory), kRingLog2, interrupt) == LATTE_OK,
                    "the core does not open"))
            return false;
        uint8_t *place = memory + (sizeof(latte_descriptor_t) << kRingLog2);
        latte_job job = {};
        job.q_address = put(place, head_q, kStride);
        job.k_address = put(place, head_k, kStride);
        job.v_address = put(place, head_v, kStride);
        uint8_t *const output = place;
        job.o_address = put(place, nullptr, kOutputStride);
        if (!expect(place <= memory + kMemoryBytes, "the head does not fit the memory")) return false;
        job.q_stride = job.k_stride = job.v_stride = kStride;
        job.o_stride = kOutputStride;
        job.query_rows = job.load_rows = HEAD_ROWS;
        job.fresh = true;
        job.causal = HEAD_CAUSAL;
        latte_job wrong = job;
        wrong.head = LATTE_REGISTERS__PARAMETERS__HEADS_reset;

        expect(latte_write_entry(&device_, 0, head_entry, sizeof(head_entry) / sizeof(head_entry[0])) == LATTE_OK,
               "the register file's entry is not taken");
        uint16_t first, second;
        uint32_t status = 0;
        expect(latte_submit(&device_, &wrong, &first) == LATTE_OK, "the first job is not taken");
        expect(latte_submit(&device_, &job, &second) == LATTE_OK, "the second job is not taken");
        expect(latte_wait(&device_, first, &status) == LATTE_JOB_FAILED, "a job without an entry does not fail");
        expect(status & LATTE_DESCRIPTOR__STATUS__REFUSED_HEAD_INVALID_bm, "its status does not say why");
        const unsigned long began = system_.cycles();
        expect(latte_wait(&device_, second, &status) == LATTE_OK, "the head's job fails");
        system_.invalidate(output, HEAD_ROWS * kOutputStride);
        unsigned differ = 0;
        for (size_t row = 0; row < HEAD_ROWS; row++)
            differ += std::memcmp(output + row * kOutputStride, head_output + row * kSize, kOutputSize) != 0;
        std::printf("%s: %u rows of %u elements in %lu cycles, %u differ from the golden model\n",
                    interrupt ? "by interrupts" : "polled", HEAD_ROWS, unsigned{kSize}, system_.cycles() - began,
                    differ);
        expect(differ == 0, "output rows");
        expect(latte_errors(&device_) == LATTE_REGISTERS__ERROR__JOB_REFUSED_bm, "the register ERROR");
        expect(latte_close(&device_) == LATTE_OK, "the core does not close");
        return this->right(interrupt);
    }

private:
    using BenchRun<System>::expect;
    using BenchRun<System>::system_;
    using BenchRun<System>::kRingLog2;
    static constexpr uint32_t kStride = (kSize + kBeat - 1) / kBeat * kBeat;
    static constexpr uint32_t kOutputStride = (kOutputSize + kBeat - 1) / kBeat * kBeat;

    // Puts rows at `place`, and moves that behind them; returns where the core finds them.
    uint64_t put(uint8_t *&place, const int8_t *rows, size_t stride) {
        uint8_t *const first = place;
        for (size_t row = 0; row < HEAD_ROWS; row++, place += stride)
            if (rows) std::memcpy(place, rows + row * kSize, kSize);
        system_.flush(first, static_cast<size_t>(place - first));
        return system_.bus_address(first);
    }

    latte_device device_ = {};
};

template <class System>
int run_head(System &system) {
    return run_twice<HeadRun>(system);
}

#endif

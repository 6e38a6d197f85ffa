// What the bench does with any system: the C driver runs the head of head.h, and every output code is compared.
//
// A System has
//   uint8_t *memory()                        kMemoryBytes of it, as the processor sees them
//   uint64_t bus_address(const void *)       of a place in it, as the core sees it
//   uint32_t read(uint32_t), write(uint32_t, uint32_t)      of registers
//   void flush(const void *, size_t), invalidate(void *, size_t)
//   bool interrupt(), void tick()            the interrupt line; one cycle of the clock
//   unsigned long cycles(), bool failed()    so far; whether a transaction was wrong

#ifndef RUN_HEAD_H
#define RUN_HEAD_H

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "head.h"
#include "latte.h"

constexpr size_t kMemoryBytes = 1 << 18;

template <class System>
class HeadRun {
public:
    explicit HeadRun(System &system) : system_(system) {}

    // Runs the head, and before it a job that cannot be carried out; returns whether all is as it should be.
    bool run(bool interrupt) {
        const latte_system calls = {this, read, write, flush, invalidate, interrupt ? sleep : poll};
        uint8_t *const memory = system_.memory();
        std::memset(memory, 0, kMemoryBytes);
        if (!expect(latte_open(&device_, &calls, memory, system_.bus_address(memory), kRingLog2, interrupt) == LATTE_OK,
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
        expect(interrupt == (interrupts_ > 0), "interrupts");
        return right_ && !system_.failed();
    }

private:
    static constexpr unsigned kRingLog2 = 2;
    static constexpr unsigned long kPatience = 1UL << 27;
    static constexpr uint32_t kBeat = LATTE_REGISTERS__BUS__DATA_BITS_reset / 8;
    static constexpr uint32_t kSize = LATTE_REGISTERS__SHAPE__HEAD_DIM_reset;
    static constexpr uint32_t kStride = (kSize + kBeat - 1) / kBeat * kBeat;
    static constexpr uint32_t kOutputSize = kSize * sizeof(head_output[0]);
    static constexpr uint32_t kOutputStride = (kOutputSize + kBeat - 1) / kBeat * kBeat;

    static HeadRun &self(void *context) { return *static_cast<HeadRun *>(context); }
    static uint32_t read(void *context, uint32_t offset) { return self(context).system_.read(offset); }
    static void write(void *context, uint32_t offset, uint32_t value) { self(context).system_.write(offset, value); }
    static void flush(void *context, const volatile void *data, size_t bytes) {
        self(context).system_.flush(const_cast<const void *>(data), bytes);
    }
    static void invalidate(void *context, volatile void *data, size_t bytes) {
        self(context).system_.invalidate(const_cast<void *>(data), bytes);
    }
    static bool poll(void *context) {
        const System &system = self(context).system_;
        return !system.failed() && system.cycles() < kPatience;
    }
    // As a processor sleeps, and then runs its interrupt handler.
    static bool sleep(void *context) {
        HeadRun &run = self(context);
        while (!run.system_.interrupt()) {
            if (!poll(context)) return false;
            run.system_.tick();
        }
        run.interrupts_++;
        return latte_interrupt(&run.device_) & LATTE_REGISTERS__INTERRUPT_STATUS__DESCRIPTOR_DONE_bm;
    }

    bool expect(bool right, const char *what) {
        if (!right) std::printf("wrong: %s\n", what);
        right_ &= right;
        return right;
    }

    // Puts rows at `place`, and moves that behind them; returns where the core finds them.
    uint64_t put(uint8_t *&place, const int8_t *rows, size_t stride) {
        uint8_t *const first = place;
        for (size_t row = 0; row < HEAD_ROWS; row++, place += stride)
            if (rows) std::memcpy(place, rows + row * kSize, kSize);
        system_.flush(first, static_cast<size_t>(place - first));
        return system_.bus_address(first);
    }

    System &system_;
    latte_device device_ = {};
    unsigned interrupts_ = 0;
    bool right_ = true;
};

// Polled, then by interrupts; returns the exit code.
template <class System>
int run_head(System &system) {
    bool right = true;
    for (bool interrupt : {false, true}) right &= HeadRun<System>(system).run(interrupt);
    std::printf("%s\n", right ? "PASS" : "FAIL");
    return right ? 0 : 1;
}

#endif

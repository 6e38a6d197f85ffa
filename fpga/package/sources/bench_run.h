// What benches do with any system and a C driver: calls of the driver, expectations, each run polled and by interrupts.
//
// A System has
//   uint8_t *memory()                        as much of it as the run needs, as the processor sees it
//   uint64_t bus_address(const void *)       of a place in it, as the core sees it
//   uint32_t read(uint32_t), write(uint32_t, uint32_t)      of registers
//   void flush(const void *, size_t), invalidate(void *, size_t)
//   bool interrupt(), void tick()            the interrupt line; one cycle of the clock
//   unsigned long cycles(), bool failed()    so far; whether a transaction was wrong

#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "head.h"
#include "latte_ring.h"

constexpr uint32_t kBeat = LATTE_REGISTERS__BUS__DATA_BITS_reset / 8;
constexpr uint32_t kSize = LATTE_REGISTERS__SHAPE__HEAD_DIM_reset;
constexpr uint32_t kOutputSize = kSize * sizeof(head_output[0]);

template <class System>
class BenchRun {
public:
    BenchRun(System &system, latte_device &device, bool interrupt)
        : system_(system), device_(device), calls_{this, read, write, flush, invalidate, interrupt ? sleep : poll} {}

protected:
    static constexpr unsigned kRingLog2 = 2;
    static constexpr unsigned long kPatience = 1UL << 27;

    bool expect(bool right, const char *what) {
        if (!right) std::printf("wrong: %s\n", what);
        right_ &= right;
        return right;
    }

    bool right(bool interrupt) {
        expect(interrupt == (interrupts_ > 0), "interrupts");
        return right_ && !system_.failed();
    }

    System &system_;
    latte_device &device_;
    const latte_system calls_;

private:
    static BenchRun &self(void *context) { return *static_cast<BenchRun *>(context); }
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
        BenchRun &run = self(context);
        while (!run.system_.interrupt()) {
            if (!poll(context)) return false;
            run.system_.tick();
        }
        run.interrupts_++;
        return latte_interrupt(&run.device_) != 0;
    }

    unsigned interrupts_ = 0;
    bool right_ = true;
};

// Runs a `Run<System>` polled, then by interrupts; returns the exit code.
template <template <class> class Run, class System>
int run_twice(System &system) {
    bool right = true;
    for (bool interrupt : {false, true}) right &= Run<System>(system, interrupt).run(interrupt);
    std::printf("%s\n", right ? "PASS" : "FAIL");
    return right ? 0 : 1;
}

#endif

// The package's bench on an SoC of LiteX: the host is at the pins of the SoC's bus, memory is the SoC's.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "Vsoc.h"
#include RUN_HEADER
#include "verilated.h"

namespace {

constexpr uint64_t kRegisters = 0x90000000, kSram = 0x01000000;

class System {
public:
    System() : memory_(kMemoryBytes) {
        soc_.rst = 1;
        for (int cycle = 0; cycle < 4; cycle++) tick();
        soc_.rst = 0;
        tick();
    }
    ~System() { soc_.final(); }

    uint8_t *memory() { return memory_.data(); }
    uint64_t bus_address(const void *pointer) const { return kSram + offset(pointer); }
    bool interrupt() const { return soc_.irq; }
    unsigned long cycles() const { return cycles_; }
    bool failed() const { return failed_; }
    uint32_t read(uint32_t at) { return access(kRegisters + at, 0, false); }
    void write(uint32_t at, uint32_t value) { access(kRegisters + at, value, true); }

    void flush(const void *data, size_t bytes) {
        for (size_t at = 0; at < bytes; at += 4) {
            uint32_t word;
            std::memcpy(&word, static_cast<const uint8_t *>(data) + at, 4);
            access(bus_address(data) + at, word, true);
        }
    }
    void invalidate(void *data, size_t bytes) {
        for (size_t at = 0; at < bytes; at += 4) {
            const uint32_t word = access(bus_address(data) + at, 0, false);
            std::memcpy(static_cast<uint8_t *>(data) + at, &word, 4);
        }
    }

    void tick() {
        soc_.clk = 1;
        soc_.eval();
        soc_.clk = 0;
        soc_.eval();
        cycles_++;
    }

private:
    uint64_t offset(const void *pointer) const {
        return static_cast<uint64_t>(static_cast<const uint8_t *>(pointer) - memory_.data());
    }

    // One access of the Wishbone bus.
    uint32_t access(uint64_t address, uint32_t value, bool write) {
        soc_.host_adr = static_cast<uint32_t>(address >> 2);
        soc_.host_dat_w = value;
        soc_.host_sel = 0xF;
        soc_.host_we = write;
        soc_.host_cyc = soc_.host_stb = 1;
        for (unsigned waited = 0;; waited++) {
            soc_.eval();
            const bool done = soc_.host_ack || soc_.host_err;
            const uint32_t answer = soc_.host_dat_r;
            if (soc_.host_err || waited == 100000) {
                std::printf("an access of %#llx fails\n", static_cast<unsigned long long>(address));
                failed_ = true;
            }
            tick();
            if (done || failed_) {
                soc_.host_cyc = soc_.host_stb = 0;
                tick();
                return answer;
            }
        }
    }

    Vsoc soc_;
    std::vector<uint8_t> memory_;
    unsigned long cycles_ = 0;
    bool failed_ = false;
};

}  // namespace

int main() {
    System system;
    return RUN(system);
}

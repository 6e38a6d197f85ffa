// Simulation of the core with its C driver: registers through AXI4-Lite, memory behind the AXI4 master.
//
// Needs nothing but this package and Verilator. run_head.h says what is run.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "Vlatte_axi.h"
#include "run_head.h"
#include "verilated.h"

namespace {

constexpr uint64_t kBase = 0x100000000;  // Of the memory, as the core sees it.
constexpr unsigned kLatency = 20;        // Cycles from a read's address to its first data.
constexpr unsigned long kEnd = 1UL << 28;  // Cycles that no run takes: a register that does not answer.

// Clock, register port and memory of one core.
class System {
public:
    System() : memory_(kMemoryBytes) {
        core_.rst = 1;
        for (int cycle = 0; cycle < 4; cycle++) tick();
        core_.rst = 0;
        tick();
    }

    ~System() { core_.final(); }

    uint8_t *memory() { return memory_.data(); }
    uint64_t bus_address(const void *pointer) const {
        return kBase + static_cast<uint64_t>(static_cast<const uint8_t *>(pointer) - memory_.data());
    }
    void flush(const void *, size_t) {}
    void invalidate(void *, size_t) {}
    bool interrupt() const { return core_.irq; }
    unsigned long cycles() const { return cycles_; }
    bool failed() const { return failed_; }

    uint32_t read(uint32_t offset) {
        core_.s_axil_araddr = offset;
        core_.s_axil_arvalid = 1;
        while (!step(core_.s_axil_arready)) {}
        core_.s_axil_arvalid = 0;
        core_.s_axil_rready = 1;
        uint32_t value = 0;
        bool done = false;
        while (!done) {
            settle();
            done = core_.s_axil_rvalid;
            if (done) {
                value = core_.s_axil_rdata;
                check(core_.s_axil_rresp, "read", offset);
            }
            tick();
        }
        core_.s_axil_rready = 0;
        return value;
    }

    void write(uint32_t offset, uint32_t value) {
        core_.s_axil_awaddr = offset;
        core_.s_axil_wdata = value;
        core_.s_axil_wstrb = 0xF;
        core_.s_axil_awvalid = core_.s_axil_wvalid = 1;
        while (core_.s_axil_awvalid || core_.s_axil_wvalid) {
            settle();
            const bool address = core_.s_axil_awvalid && core_.s_axil_awready;
            const bool data = core_.s_axil_wvalid && core_.s_axil_wready;
            tick();
            if (address) core_.s_axil_awvalid = 0;
            if (data) core_.s_axil_wvalid = 0;
        }
        core_.s_axil_bready = 1;
        bool done = false;
        while (!done) {
            settle();
            done = core_.s_axil_bvalid;
            if (done) check(core_.s_axil_bresp, "write", offset);
            tick();
        }
        core_.s_axil_bready = 0;
    }

    void tick() {
        drive_memory();
        settle();
        take_memory();
        core_.clk = 1;
        core_.eval();
        core_.clk = 0;
        core_.eval();
        if (++cycles_ == kEnd) {
            std::printf("no end in %lu cycles\nFAIL\n", kEnd);
            std::exit(1);
        }
    }

private:
    struct Read {
        uint64_t address;
        unsigned beats;
        unsigned long due;
    };

    void settle() { core_.eval(); }

    // One cycle; whether `ready` was high in it.
    bool step(const CData &ready) {
        settle();
        const bool taken = ready;
        tick();
        return taken;
    }

    void check(unsigned response, const char *what, uint32_t offset) {
        if (response) {
            std::printf("the %s of register %#x was answered with %u\n", what, offset, response);
            failed_ = true;
        }
    }

    uint8_t *at(uint64_t address) {
        if (address < kBase || address + sizeof(core_.m_axi_rdata) > kBase + memory_.size()) {
            std::printf("the core accesses %#llx, where nothing is\n", static_cast<unsigned long long>(address));
            failed_ = true;
            return memory_.data();
        }
        return memory_.data() + (address - kBase);
    }

    void drive_memory() {
        core_.m_axi_arready = reads_.size() < 16;
        core_.m_axi_awready = writes_.size() < 16;
        core_.m_axi_wready = !writes_.empty();
        core_.m_axi_bvalid = answers_ > 0;
        core_.m_axi_rvalid = !reads_.empty() && reads_.front().due <= cycles_;
        if (core_.m_axi_rvalid) {
            std::memcpy(static_cast<void *>(&core_.m_axi_rdata), at(reads_.front().address), kBeat);
            core_.m_axi_rlast = reads_.front().beats == 1;
        }
    }

    void take_memory() {
        if (core_.m_axi_rvalid && core_.m_axi_rready) {
            reads_.front().address += kBeat;
            if (--reads_.front().beats == 0) reads_.pop_front();
        }
        if (core_.m_axi_bvalid && core_.m_axi_bready) answers_--;
        if (core_.m_axi_wvalid && core_.m_axi_wready) {
            uint8_t data[kBeat];
            std::memcpy(data, static_cast<const void *>(&core_.m_axi_wdata), kBeat);
            for (size_t lane = 0; lane < kBeat; lane++)
                if (core_.m_axi_wstrb >> lane & 1) at(writes_.front())[lane] = data[lane];
            writes_.front() += kBeat;
            if (core_.m_axi_wlast) {
                writes_.pop_front();
                answers_++;
            }
        }
        if (core_.m_axi_arvalid && core_.m_axi_arready)
            reads_.push_back({core_.m_axi_araddr, core_.m_axi_arlen + 1U, cycles_ + kLatency});
        if (core_.m_axi_awvalid && core_.m_axi_awready) writes_.push_back(core_.m_axi_awaddr);
    }

    Vlatte_axi core_;
    static constexpr size_t kBeat = sizeof(core_.m_axi_rdata);
    std::vector<uint8_t> memory_;
    std::deque<Read> reads_;
    std::deque<uint64_t> writes_;
    unsigned answers_ = 0;
    unsigned long cycles_ = 0;
    bool failed_ = false;
};

}  // namespace

int main() {
    System system;
    return run_head(system);
}

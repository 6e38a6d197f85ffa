// Clock, register port and memory of one simulated core, for a bench.

#ifndef BENCH_SYSTEM_H
#define BENCH_SYSTEM_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <type_traits>
#include <vector>

#include "verilated.h"

constexpr uint64_t kBase = 0x100000000;    // Of the memory, as the core sees it.
constexpr unsigned kLatency = 20;          // Cycles from a read's address to its first data.
constexpr unsigned long kEnd = 1UL << 28;  // Cycles that no run takes: a register that does not answer.

// Ports of an AXI4 master.
template <class Data, class Strobes>
struct MasterPorts {
    QData &araddr;
    CData &arlen, &arvalid, &arready;
    Data &rdata;
    CData &rlast, &rvalid, &rready;
    QData &awaddr;
    CData &awvalid, &awready;
    Data &wdata;
    Strobes &wstrb;
    CData &wlast, &wvalid, &wready, &bvalid, &bready;
};

// Those of a core with a prefix.
#define MASTER_PORTS(core, prefix)                                                                                    \
    MasterPorts<std::remove_reference_t<decltype(core.prefix##_rdata)>,                                               \
                std::remove_reference_t<decltype(core.prefix##_wstrb)>> {                                             \
        core.prefix##_araddr, core.prefix##_arlen, core.prefix##_arvalid, core.prefix##_arready, core.prefix##_rdata, \
            core.prefix##_rlast, core.prefix##_rvalid, core.prefix##_rready, core.prefix##_awaddr,                    \
            core.prefix##_awvalid, core.prefix##_awready, core.prefix##_wdata, core.prefix##_wstrb,                   \
            core.prefix##_wlast, core.prefix##_wvalid, core.prefix##_wready, core.prefix##_bvalid,                    \
            core.prefix##_bready                                                                                      \
    }

// Memory, as a master sees it.
class Memory {
public:
    explicit Memory(size_t bytes) : bytes_(bytes) {}

    uint8_t *data() { return bytes_.data(); }
    const uint8_t *data() const { return bytes_.data(); }
    bool failed() const { return failed_; }

    uint8_t *at(uint64_t address, size_t size) {
        if (address < kBase || address + size > kBase + bytes_.size()) {
            std::printf("the core accesses %#llx, where nothing is\n", static_cast<unsigned long long>(address));
            failed_ = true;
            return bytes_.data();
        }
        return bytes_.data() + (address - kBase);
    }

private:
    std::vector<uint8_t> bytes_;
    bool failed_ = false;
};

// What a master's signals are in a cycle, and what follows from them.
class Slave {
public:
    virtual ~Slave() = default;
    virtual void drive(unsigned long cycle) = 0;
    virtual void take(unsigned long cycle) = 0;
};

// Carries out the bursts of one master in order.
template <class Ports>
class MasterSlave : public Slave {
public:
    MasterSlave(Ports ports, Memory &memory) : ports_(ports), memory_(memory) {}

    void drive(unsigned long cycle) override {
        ports_.arready = reads_.size() < 16;
        ports_.awready = writes_.size() < 16;
        ports_.wready = !writes_.empty();
        ports_.bvalid = answers_ > 0;
        ports_.rvalid = !reads_.empty() && reads_.front().due <= cycle;
        if (ports_.rvalid) {
            std::memcpy(static_cast<void *>(&ports_.rdata), memory_.at(reads_.front().address, kBeat), kBeat);
            ports_.rlast = reads_.front().beats == 1;
        }
    }

    void take(unsigned long cycle) override {
        if (ports_.rvalid && ports_.rready) {
            reads_.front().address += kBeat;
            if (--reads_.front().beats == 0) reads_.pop_front();
        }
        if (ports_.bvalid && ports_.bready) answers_--;
        if (ports_.wvalid && ports_.wready) {
            uint8_t data[kBeat];
            std::memcpy(data, static_cast<const void *>(&ports_.wdata), kBeat);
            uint8_t *const place = memory_.at(writes_.front(), kBeat);
            for (size_t lane = 0; lane < kBeat; lane++)
                if (ports_.wstrb >> lane & 1) place[lane] = data[lane];
            writes_.front() += kBeat;
            if (ports_.wlast) {
                writes_.pop_front();
                answers_++;
            }
        }
        if (ports_.arvalid && ports_.arready) reads_.push_back({ports_.araddr, ports_.arlen + 1U, cycle + kLatency});
        if (ports_.awvalid && ports_.awready) writes_.push_back(ports_.awaddr);
    }

private:
    struct Read {
        uint64_t address;
        unsigned beats;
        unsigned long due;
    };

    static constexpr size_t kBeat = sizeof(Ports::rdata);
    Ports ports_;
    Memory &memory_;
    std::deque<Read> reads_;
    std::deque<uint64_t> writes_;
    unsigned answers_ = 0;
};

// A core, of Verilator's class `Core`; before `power_up`, each of its masters is connected.
template <class Core>
class System {
public:
    explicit System(size_t bytes) : memory_(bytes) {}
    ~System() { core_.final(); }

    Core &core() { return core_; }

    template <class Ports>
    void connect(Ports ports) {
        slaves_.push_back(std::make_unique<MasterSlave<Ports>>(ports, memory_));
    }

    void power_up() {
        core_.rst = 1;
        for (int cycle = 0; cycle < 4; cycle++) tick();
        core_.rst = 0;
        tick();
    }

    uint8_t *memory() { return memory_.data(); }
    uint64_t bus_address(const void *pointer) const {
        return kBase + static_cast<uint64_t>(static_cast<const uint8_t *>(pointer) - memory_.data());
    }
    void flush(const void *, size_t) {}
    void invalidate(void *, size_t) {}
    bool interrupt() const { return core_.irq; }
    unsigned long cycles() const { return cycles_; }
    bool failed() const { return failed_ || memory_.failed(); }

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
        for (auto &slave : slaves_) slave->drive(cycles_);
        settle();
        for (auto &slave : slaves_) slave->take(cycles_);
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

    Core core_;
    Memory memory_;
    std::vector<std::unique_ptr<Slave>> slaves_;
    unsigned long cycles_ = 0;
    bool failed_ = false;
};

#endif

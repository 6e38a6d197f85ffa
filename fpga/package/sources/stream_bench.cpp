// Simulation of the core with AXI4-Stream ports: registers through AXI4-Lite, rows by packets.
//
// Needs nothing but this package and Verilator. A job without an entry is refused, and the head behind it is compared.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "Vlatte_axi_stream.h"
#include "head.h"
#include "latte_registers.h"
#include "verilated.h"

namespace {

constexpr uint32_t kSize = LATTE_REGISTERS__SHAPE__HEAD_DIM_reset;
constexpr size_t kBeat = LATTE_REGISTERS__BUS__DATA_BITS_reset / 8;
constexpr size_t kStride = (kSize + kBeat - 1) / kBeat * kBeat;
constexpr size_t kOutputSize = kSize * sizeof(head_output[0]);
constexpr size_t kOutputStride = (kOutputSize + kBeat - 1) / kBeat * kBeat;
constexpr unsigned long kPatience = 1UL << 27;  // Cycles that no run takes.

#define REGISTER(name) static_cast<uint32_t>(offsetof(latte_registers_t, name))

// Rows one behind the other, each from a beat of its own.
std::vector<uint8_t> packet(const int8_t *rows) {
    std::vector<uint8_t> bytes(HEAD_ROWS * kStride);
    for (size_t row = 0; row < HEAD_ROWS; row++) std::memcpy(&bytes[row * kStride], rows + row * kSize, kSize);
    return bytes;
}

// Packets that a source has to send.
struct Source {
    std::vector<std::vector<uint8_t>> packets;
    size_t at = 0;

    template <class Data>
    void drive(Data &data, CData &last, CData &valid) {
        valid = !packets.empty();
        if (packets.empty()) return;
        std::memcpy(static_cast<void *>(&data), packets.front().data() + at, kBeat);
        last = at + kBeat == packets.front().size();
    }
    void taken() {
        at += kBeat;
        if (at < packets.front().size()) return;
        packets.erase(packets.begin());
        at = 0;
    }
};

class System {
public:
    System() {
        core_.s_axis_q_tkeep = core_.s_axis_k_tkeep = core_.s_axis_v_tkeep = (1U << kBeat) - 1;
        core_.m_axis_o_tready = 1;
        core_.rst = 1;
        for (int cycle = 0; cycle < 4; cycle++) tick();
        core_.rst = 0;
        tick();
    }
    ~System() { core_.final(); }

    Source q, k, v;
    std::vector<uint8_t> received;
    std::vector<size_t> ends;   // Bytes so far at the end of each packet.
    std::vector<bool> errors;   // Of each packet.

    bool interrupt() const { return core_.irq; }
    unsigned long cycles() const { return cycles_; }
    bool failed() const { return failed_; }

    uint32_t read(uint32_t offset) {
        core_.s_axil_araddr = offset;
        core_.s_axil_arvalid = core_.s_axil_rready = 1;
        for (bool done = false; !done;) {
            core_.eval();
            const bool address = core_.s_axil_arvalid && core_.s_axil_arready;
            done = core_.s_axil_rvalid;
            if (done) check(core_.s_axil_rresp, "read", offset);
            const uint32_t value = core_.s_axil_rdata;
            tick();
            if (address) core_.s_axil_arvalid = 0;
            if (done) {
                core_.s_axil_rready = 0;
                return value;
            }
        }
        return 0;
    }

    void write(uint32_t offset, uint32_t value) {
        core_.s_axil_awaddr = offset;
        core_.s_axil_wdata = value;
        core_.s_axil_wstrb = 0xF;
        core_.s_axil_awvalid = core_.s_axil_wvalid = core_.s_axil_bready = 1;
        for (bool done = false; !done;) {
            core_.eval();
            const bool address = core_.s_axil_awready, data = core_.s_axil_wready;
            done = core_.s_axil_bvalid;
            if (done) check(core_.s_axil_bresp, "write", offset);
            tick();
            if (address) core_.s_axil_awvalid = 0;
            if (data) core_.s_axil_wvalid = 0;
        }
        core_.s_axil_bready = 0;
    }

    void tick() {
        q.drive(core_.s_axis_q_tdata, core_.s_axis_q_tlast, core_.s_axis_q_tvalid);
        k.drive(core_.s_axis_k_tdata, core_.s_axis_k_tlast, core_.s_axis_k_tvalid);
        v.drive(core_.s_axis_v_tdata, core_.s_axis_v_tlast, core_.s_axis_v_tvalid);
        core_.eval();
        if (core_.s_axis_q_tvalid && core_.s_axis_q_tready) q.taken();
        if (core_.s_axis_k_tvalid && core_.s_axis_k_tready) k.taken();
        if (core_.s_axis_v_tvalid && core_.s_axis_v_tready) v.taken();
        if (core_.m_axis_o_tvalid) {
            const size_t end = received.size();
            received.resize(end + kBeat);
            std::memcpy(&received[end], static_cast<const void *>(&core_.m_axis_o_tdata), kBeat);
            if (core_.m_axis_o_tlast) {
                ends.push_back(received.size());
                errors.push_back(core_.m_axis_o_tuser);
            }
        }
        core_.clk = 1;
        core_.eval();
        core_.clk = 0;
        core_.eval();
        if (++cycles_ == kPatience) {
            std::printf("no end in %lu cycles\nFAIL\n", kPatience);
            std::exit(1);
        }
    }

private:
    void check(unsigned response, const char *what, uint32_t offset) {
        if (response) {
            std::printf("the %s of register %#x was answered with %u\n", what, offset, response);
            failed_ = true;
        }
    }

    Vlatte_axi_stream core_;
    unsigned long cycles_ = 0;
    bool failed_ = false;
};

bool right = true;

bool expect(bool condition, const char *what) {
    if (!condition) std::printf("wrong: %s\n", what);
    right &= condition;
    return condition;
}

void queue(System &system, uint32_t head) {
    system.write(REGISTER(JOB), 1U << LATTE_REGISTERS__JOB__FRESH_bp | HEAD_CAUSAL << LATTE_REGISTERS__JOB__CAUSAL_bp |
                                    1U << LATTE_REGISTERS__JOB__INTERRUPT_bp | head << LATTE_REGISTERS__JOB__HEAD_bp);
    system.write(REGISTER(JOB_ROWS), HEAD_ROWS << LATTE_REGISTERS__JOB_ROWS__QUERY_ROWS_bp |
                                         HEAD_ROWS << LATTE_REGISTERS__JOB_ROWS__LOAD_ROWS_bp);
    system.q.packets.push_back(packet(head_q));
    system.k.packets.push_back(packet(head_k));
    system.v.packets.push_back(packet(head_v));
}

// Sleeps until an interrupt, as a processor would; returns how many jobs are done.
uint32_t wait(System &system) {
    while (!system.interrupt()) system.tick();
    system.write(REGISTER(INTERRUPT_STATUS), LATTE_REGISTERS__INTERRUPT_STATUS__JOB_DONE_bm);
    return system.read(REGISTER(JOBS_DONE));
}

void run(System &system) {
    if (!expect(system.read(REGISTER(ID)) == LATTE_REGISTERS__ID__MAGIC_reset &&
                    system.read(REGISTER(VERSION)) == LATTE_REGISTERS__VERSION__VERSION_reset &&
                    system.read(REGISTER(FINGERPRINT)) == LATTE_REGISTERS__FINGERPRINT__FINGERPRINT_reset,
                "another core is there"))
        return;
    system.write(REGISTER(CONTROL), LATTE_REGISTERS__CONTROL__SOFT_RESET_bm);
    while (system.read(REGISTER(STATUS)) & LATTE_REGISTERS__STATUS__RESETTING_bm) {}
    system.write(REGISTER(PARAMETER_SELECT), 0);
    for (uint16_t word : head_entry) system.write(REGISTER(PARAMETER_DATA), word);
    system.write(REGISTER(INTERRUPT_ENABLE), LATTE_REGISTERS__INTERRUPT_ENABLE__JOB_DONE_bm);
    system.write(REGISTER(CONTROL), LATTE_REGISTERS__CONTROL__ENABLE_bm);

    queue(system, LATTE_REGISTERS__PARAMETERS__HEADS_reset);
    queue(system, 0);
    uint32_t done = 0;
    const unsigned long began = system.cycles();
    while (done < 2) done = wait(system);
    if (!expect(done == 2 && system.ends.size() == 2, "two jobs do not end with two packets")) return;

    expect(system.read(REGISTER(JOB_STATUS_0)) & LATTE_REGISTERS__JOB_STATUS_0__REFUSED_HEAD_INVALID_bm,
           "the status of a job without an entry does not say why it failed");
    expect(system.errors[0] && !system.errors[1], "TUSER");
    expect(system.read(REGISTER(JOB_STATUS_1)) == LATTE_REGISTERS__JOB_STATUS_1__DONE_bm, "the head's job fails");
    expect(system.read(REGISTER(ERROR)) == LATTE_REGISTERS__ERROR__JOB_REFUSED_bm, "the register ERROR");
    const size_t size = HEAD_ROWS * kOutputStride;
    if (!expect(system.ends[0] == size && system.ends[1] == 2 * size, "the sizes of the packets")) return;
    unsigned differ = 0;
    for (size_t row = 0; row < HEAD_ROWS; row++)
        differ += std::memcmp(&system.received[size + row * kOutputStride],
                              reinterpret_cast<const uint8_t *>(head_output) + row * kOutputSize, kOutputSize) != 0;
    std::printf("by streams: %u rows of %u elements in %lu cycles, %u differ from the golden model\n", HEAD_ROWS,
                unsigned{kSize}, system.cycles() - began, differ);
    expect(differ == 0, "output rows");
}

}  // namespace

int main() {
    System system;
    run(system);
    right &= !system.failed();
    std::printf("%s\n", right ? "PASS" : "FAIL");
    return right ? 0 : 1;
}

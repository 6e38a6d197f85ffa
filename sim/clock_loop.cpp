// The clock loop of latte.sim.testbench and the agents of latte.sim.agents, compiled with the model of a Harness.
//
// latte.sim.compiled_testbench calls it, and describes what each agent does there. A cycle has the same order on both
// sides: outputs settle, the edge comes, each agent acts on what it saw before the edge and drives from then on.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#if VM_COVERAGE
#include "verilated_cov.h"
#endif

namespace {

using Word = std::uint32_t;
constexpr std::uint32_t kWordBits = 32;

constexpr std::size_t words_of(std::size_t bytes) { return (bytes + sizeof(Word) - 1) / sizeof(Word); }

// Bits of the input or output vector.
struct Place {
    std::uint32_t offset, width;
    std::uint32_t words() const { return (width + kWordBits - 1) / kWordBits; }
};

// The next cycles of a stall pattern; none if there is no pattern.
struct Stalls {
    const std::uint8_t* pattern;
    std::uint64_t held, used;
    bool dry() const { return pattern && used == held; }
    bool next() { return pattern && pattern[used++]; }
};

// What was seen, and in which cycle.
struct Record {
    Word* items;
    std::uint64_t* cycles;
    std::uint64_t room, count;
    bool full() const { return count == room; }
};

struct Source {
    std::uint32_t valid, ready;
    Place payload;
    const Word* items;
    std::uint64_t held, next, taken;
    Stalls stalls;
    std::uint8_t ended, finished, offers;
    bool dry() const { return !finished && ((!ended && next == held) || stalls.dry()); }
};

struct Sink {
    std::uint32_t valid, ready;
    Place payload;
    Word* waiting;
    Stalls stalls;
    Record record;
    std::uint8_t listens, waits;
};

struct Tap {
    std::uint32_t valid;
    Place value;
    Record record;
};

enum class Ended : std::uint32_t { limit, supplies, sources_finished, payload_changed, valid_fell };

struct Model {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
    Word driven[words_of(sizeof(Vtop::drive))];
    Word observed[words_of(sizeof(Vtop::observe))];

    Model() : top(std::make_unique<Vtop>(&context)), driven{}, observed{} { top->clk = 1; top->rst = 1; }

    // One clock cycle; what is observed are the outputs before its edge.
    void tick() {
        std::memcpy(&top->drive, driven, sizeof(Vtop::drive));
        top->clk = 0;
        top->eval();
        std::memcpy(observed, &top->observe, sizeof(Vtop::observe));
        top->clk = 1;
        top->eval();
    }

    bool sees(std::uint32_t bit) const { return observed[bit / kWordBits] >> bit % kWordBits & 1; }

    void set(std::uint32_t bit) { driven[bit / kWordBits] |= Word{1} << bit % kWordBits; }

    void drive(const Place& place, const Word* value) {
        const std::uint32_t first = place.offset / kWordBits, shift = place.offset % kWordBits;
        for (std::uint32_t i = 0; i < place.words(); ++i) {
            driven[first + i] |= value[i] << shift;
            if (shift && value[i] >> (kWordBits - shift)) driven[first + i + 1] |= value[i] >> (kWordBits - shift);
        }
    }

    void read(const Place& place, Word* value) const {
        const std::uint32_t first = place.offset / kWordBits, shift = place.offset % kWordBits, words = place.words();
        const std::uint32_t last = (place.offset + place.width - 1) / kWordBits;
        for (std::uint32_t i = 0; i < words; ++i) {
            value[i] = observed[first + i] >> shift;
            if (shift && first + i < last) value[i] |= observed[first + i + 1] << (kWordBits - shift);
        }
        if (place.width % kWordBits) value[words - 1] &= (Word{1} << place.width % kWordBits) - 1;
    }

    void note(Record& record, const Place& place, std::uint64_t cycle) const {
        read(place, record.items + record.count * place.words());
        record.cycles[record.count++] = cycle;
    }

    // StreamDriver.step
    void step(Source& source) {
        if (source.offers) {
            if (!sees(source.ready)) {
                drive(source.payload, source.items + (source.next - 1) * source.payload.words());
                set(source.valid);
                return;
            }
            ++source.taken;
            source.offers = 0;
        } else if (source.finished) {
            return;
        }
        if (source.stalls.next()) return;
        if (source.next == source.held) {
            source.finished = 1;
            return;
        }
        drive(source.payload, source.items + source.next++ * source.payload.words());
        set(source.valid);
        source.offers = 1;
    }

    // StreamMonitor.step
    Ended step(Sink& sink, std::uint64_t cycle) {
        if (sees(sink.valid)) {
            Word* now = sink.record.items + sink.record.count * sink.payload.words();
            read(sink.payload, now);
            const std::size_t size = sink.payload.words() * sizeof(Word);
            if (sink.waits && std::memcmp(now, sink.waiting, size)) return Ended::payload_changed;
            if (sink.listens) {
                note(sink.record, sink.payload, cycle);
            } else {
                std::memcpy(sink.waiting, now, size);
            }
            sink.waits = !sink.listens;
        } else if (sink.waits) {
            return Ended::valid_fell;
        }
        sink.listens = !sink.stalls.next();
        if (sink.listens) set(sink.ready);
        return Ended::limit;
    }
};

}  // namespace

extern "C" {

Model* open_model() { return new Model; }

// Sizes in words of what observe() writes and pulse() reads.
std::uint32_t observed_words() { return words_of(sizeof(Vtop::observe)); }
std::uint32_t driven_words() { return words_of(sizeof(Vtop::drive)); }

// Holds reset for some cycles, with all inputs low.
void reset(Model* model, std::uint64_t cycles) {
    std::memset(model->driven, 0, sizeof model->driven);
    model->top->rst = 1;
    while (cycles--) model->tick();
    model->top->rst = 0;
}

// Drives `value` for one cycle and nothing in the next.
void pulse(Model* model, const Word* value) {
    std::memcpy(model->driven, value, sizeof model->driven);
    model->tick();
    std::memset(model->driven, 0, sizeof model->driven);
    model->tick();
}

// Writes what an instrumented model has counted so far; nothing of any other.
void leave_counts([[maybe_unused]] Model* model, [[maybe_unused]] const char* path) {
#if VM_COVERAGE
    model->context.coveragep()->write(path);
#endif
}

void observe(const Model* model, Word* value) { std::memcpy(value, model->observed, sizeof model->observed); }

// Steps the agents from `*cycle` on, at most up to `until`, and says why it ended; `*culprit` is the sink that broke a
// rule. It ends as well when an agent needs what only Python has (supplies), and when the last source has finished.
Ended run(Model* model, Source* sources, std::uint32_t source_count, Sink* sinks, std::uint32_t sink_count, Tap* taps,
          std::uint32_t tap_count, std::uint64_t* cycle, std::uint64_t until, std::uint32_t* culprit) {
    std::uint32_t working = 0;
    for (std::uint32_t i = 0; i < source_count; ++i) working += !sources[i].finished;
    while (*cycle < until) {
        bool dry = false;
        for (std::uint32_t i = 0; i < source_count; ++i) dry |= sources[i].dry();
        for (std::uint32_t i = 0; i < sink_count; ++i) dry |= sinks[i].stalls.dry() || sinks[i].record.full();
        for (std::uint32_t i = 0; i < tap_count; ++i) dry |= taps[i].record.full();
        if (dry) return Ended::supplies;

        model->tick();
        ++*cycle;
        std::memset(model->driven, 0, sizeof model->driven);
        for (std::uint32_t i = 0; i < sink_count; ++i) {
            *culprit = i;
            if (const Ended broken = model->step(sinks[i], *cycle); broken != Ended::limit) return broken;
        }
        for (std::uint32_t i = 0; i < tap_count; ++i) {
            if (model->sees(taps[i].valid)) model->note(taps[i].record, taps[i].value, *cycle);
        }
        std::uint32_t left = 0;
        for (std::uint32_t i = 0; i < source_count; ++i) {
            model->step(sources[i]);
            left += !sources[i].finished;
        }
        if (working && !left) return Ended::sources_finished;
    }
    return Ended::limit;
}
}

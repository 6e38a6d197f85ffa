// The C driver keeps two sequences of the head of head.h and its successors, whose tokens take turns, frees one and
// begins it anew on its pages; every output code is compared. bench_run.h says what a System is.

#ifndef RUN_CACHE_H
#define RUN_CACHE_H

#include "bench_run.h"
#include "latte_cache.h"

constexpr uint32_t kPagesOfOne = (HEAD_ROWS + LATTE_PAGE_ROWS - 1) / LATTE_PAGE_ROWS;
constexpr size_t kOperands = HEAD_ROWS * (HEAD_HEADS * (kSize + kOutputSize) + 2 * kSize);
constexpr size_t kMemoryBytes = (1 << 13) + LATTE_RECORDS_BYTES + LATTE_SPILL_BYTES +
                                2 * kPagesOfOne * LATTE_PAGE_BYTES + 2 * kOperands;

template <class System>
class CacheRun : BenchRun<System> {
public:
    CacheRun(System &system, bool interrupt) : BenchRun<System>(system, cache_.device, interrupt) {}

    // Returns whether all is as it should be.
    bool run(bool interrupt) {
        std::memset(system_.memory(), 0, kMemoryBytes);
        place_ = system_.memory();
        latte_cache_memory memory = {};
        memory.ring = area(sizeof(latte_descriptor_t) << kRingLog2);
        memory.records = area(LATTE_RECORDS_BYTES);
        memory.pages = area(2 * kPagesOfOne * LATTE_PAGE_BYTES).address;
        memory.spill = area(LATTE_SPILL_BYTES).address;
        memory.page_count = 2 * kPagesOfOne;
        memory.links = links_;
        if (!expect(latte_cache_open(&cache_, &this->calls_, &memory, kRingLog2, interrupt) == LATTE_OK,
                    "the core does not open"))
            return false;
        for (uint16_t head = 0; head < HEAD_HEADS; head++)
            expect(latte_write_entry(&cache_.device, head, head_entry, sizeof(head_entry) / sizeof(head_entry[0])) ==
                       LATTE_OK,
                   "the register file's entry is not taken");
        q_ = put(head_q, sizeof(head_q));
        k_ = put(head_k, sizeof(head_k));
        v_ = put(head_v, sizeof(head_v));
        for (auto &output : outputs_) output = area(HEAD_ROWS * kPosition * sizeof(head_output[0]));
        expect(place_ <= system_.memory() + kMemoryBytes, "memory");

        const unsigned long began = system_.cycles();
        for (auto &sequence : sequences_) expect(latte_sequence_open(&cache_, &sequence) == LATTE_OK, "open");
        two_sequences();
        const unsigned differ = wrong_rows(0) + wrong_rows(1);
        std::printf("%s: 2 sequences of %u tokens, %u heads of %u elements, in %lu cycles, %u rows differ from the "
                    "golden model\n", interrupt ? "by interrupts" : "polled", HEAD_ROWS, HEAD_HEADS, unsigned{kSize},
                    system_.cycles() - began, differ);
        expect(differ == 0, "output rows");
        ends();
        anew();
        expect(latte_errors(&cache_.device) == LATTE_REGISTERS__ERROR__JOB_REFUSED_bm, "the register ERROR");
        expect(latte_close(&cache_.device) == LATTE_OK, "the core does not close");
        return this->right(interrupt);
    }

private:
    using BenchRun<System>::expect;
    using BenchRun<System>::system_;
    using BenchRun<System>::kRingLog2;
    static constexpr uint32_t kPosition = HEAD_HEADS * kSize;

    // A job of some positions of the head, which appends them.
    latte_cache_job job_of(unsigned number, uint32_t first, uint32_t rows) const {
        latte_cache_job job = {};
        job.q_address = q_ + first * kPosition;
        job.k_address = k_ + first * kSize;
        job.v_address = v_ + first * kSize;
        job.o_address = outputs_[number].address + first * kPosition * sizeof(head_output[0]);
        job.q_stride = kPosition;
        job.kv_stride = kSize;
        job.o_stride = kPosition * sizeof(head_output[0]);
        job.heads = HEAD_HEADS;
        job.queries = job.rows = static_cast<uint16_t>(rows);
        return job;
    }

    // A prompt each, then a token of either in turn.
    void two_sequences() {
        for (uint32_t first = 0, rows = HEAD_PROMPT; first < HEAD_ROWS; first += rows, rows = 1) {
            latte_cache_job jobs[2];
            uint16_t numbers[2];
            for (unsigned n : {0u, 1u}) {
                jobs[n] = job_of(n, first, rows);
                expect(latte_cache_submit(&cache_, &sequences_[n], &jobs[n], &numbers[n]) == LATTE_OK, "submit");
            }
            for (unsigned n : {0u, 1u})
                expect(latte_cache_wait(&cache_, &sequences_[n], &jobs[n], numbers[n], nullptr) == LATTE_OK, "job");
        }
    }

    // Pages are all taken, an entry was never written, a sequence is freed: all of it is told, and harms nothing.
    void ends() {
        latte_sequence &first = sequences_[0], &second = sequences_[1];
        const uint32_t more = kPagesOfOne * LATTE_PAGE_ROWS + 1;
        expect(latte_sequence_reserve(&cache_, &first, more) ==
                   (more > LATTE_REGISTERS__KEYS__MOST_reset ? LATTE_TOO_LONG : LATTE_NO_PAGES),
               "more pages than there are");
        expect(latte_sequence_reserve(&cache_, &first, LATTE_REGISTERS__KEYS__MOST_reset + 1) == LATTE_TOO_LONG,
               "a sequence that is too long");
        latte_cache_job again = job_of(0, HEAD_ROWS - 1, 1);
        again.rows = 0;
        latte_cache_job wrong = again;
        wrong.head = LATTE_REGISTERS__PARAMETERS__HEADS_reset;
        refused(first, wrong, LATTE_DESCRIPTOR__STATUS__REFUSED_HEAD_INVALID_bm);
        latte_sequence stale = first;
        expect(latte_sequence_free(&cache_, &first) == LATTE_OK, "free");
        expect(latte_sequence_free(&cache_, &first) == LATTE_FREED, "free what was freed");
        uint16_t number;
        expect(latte_cache_submit(&cache_, &first, &again, &number) == LATTE_FREED, "ask what was freed");
        refused(stale, again, LATTE_DESCRIPTOR__STATUS__REFUSED_SEQUENCE_INVALID_bm);
        expect(latte_sequence_open(&cache_, &first) == LATTE_OK, "open again");
        expect(first.slot == stale.slot && first.generation != stale.generation, "the slot is used again");
        refused(stale, again, LATTE_DESCRIPTOR__STATUS__REFUSED_SEQUENCE_INVALID_bm);
        expect(second.live && second.length == HEAD_ROWS, "the other sequence");
    }

    void refused(latte_sequence &sequence, const latte_cache_job &job, uint32_t why) {
        uint16_t number;
        uint32_t status = 0;
        expect(latte_cache_submit(&cache_, &sequence, &job, &number) == LATTE_OK, "a job to be refused is not taken");
        expect(latte_cache_wait(&cache_, &sequence, &job, number, &status) == LATTE_JOB_FAILED && status & why,
               "its status does not say why");
    }

    // On the pages that were freed: rows are appended and the last token is asked.
    void anew() {
        latte_sequence &first = sequences_[0];
        latte_cache_job append = job_of(0, 0, HEAD_ROWS - 1), token = job_of(0, HEAD_ROWS - 1, 1);
        append.queries = 0;
        uint16_t numbers[2];
        const size_t at = (HEAD_ROWS - 1) * kPosition * sizeof(head_output[0]);
        std::memset(output(0) + at, 0xA5, kPosition * sizeof(head_output[0]));
        system_.flush(output(0) + at, kPosition * sizeof(head_output[0]));
        expect(latte_cache_submit(&cache_, &first, &append, &numbers[0]) == LATTE_OK, "append");
        expect(latte_cache_submit(&cache_, &first, &token, &numbers[1]) == LATTE_OK, "token");
        expect(latte_cache_wait(&cache_, &first, &append, numbers[0], nullptr) == LATTE_OK, "appending");
        expect(latte_cache_wait(&cache_, &first, &token, numbers[1], nullptr) == LATTE_OK, "a token behind it");
        expect(wrong_rows(0) == 0, "outputs on pages that were freed");
    }

    unsigned wrong_rows(unsigned number) {
        system_.invalidate(output(number), sizeof(head_output));
        unsigned differ = 0;
        for (size_t row = 0; row < HEAD_ROWS * HEAD_HEADS; row++)
            differ += std::memcmp(output(number) + row * kOutputSize, head_output + row * kSize, kOutputSize) != 0;
        return differ;
    }

    uint8_t *output(unsigned number) const {
        return static_cast<uint8_t *>(const_cast<void *>(outputs_[number].at));
    }

    // Memory from a cache line on.
    latte_area area(size_t bytes) {
        latte_area found = {place_, system_.bus_address(place_)};
        place_ += LATTE_PADDED(bytes, LATTE_LINE_BYTES);
        return found;
    }

    // Puts rows into memory; returns where the core finds them.
    uint64_t put(const int8_t *rows, size_t bytes) {
        const latte_area found = area(bytes);
        void *const at = const_cast<void *>(found.at);
        std::memcpy(at, rows, bytes);
        system_.flush(at, bytes);
        return found.address;
    }

    latte_cache cache_ = {};
    latte_sequence sequences_[2] = {};
    latte_area outputs_[2] = {};
    uint32_t links_[2 * kPagesOfOne] = {};
    uint64_t q_ = 0, k_ = 0, v_ = 0;
    uint8_t *place_ = nullptr;
};

template <class System>
int run_cache(System &system) {
    return run_twice<CacheRun>(system);
}

#endif

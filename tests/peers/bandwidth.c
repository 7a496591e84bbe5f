// How fast this machine's threads read memory: the ceiling of decoding, which reads every weight once a token.
//
//   cc -O3 -march=native -pthread bandwidth.c -o bandwidth && ./bandwidth THREADS BYTES
//
// Every thread reads its own part of one array of BYTES, over and over; prints the best of 20 passes in GB/s (1e9
// bytes). Give the model's size: a small model stays in a shared cache.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

// 16 sums of 8 bytes, two cache lines: they stay in registers whatever a vector's width. (64 did not, which cost two thirds.)
enum { PASSES = 20, LANES = 16 };

static pthread_barrier_t barrier;
static double best = 1e9;

struct part {
    const uint64_t *from;
    size_t words;
    int first;
    uint64_t sum;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void *scan(void *argument) {
    struct part *part = argument;
    for (int pass = 0; pass < PASSES; pass++) {
        pthread_barrier_wait(&barrier);
        double begin = now();
        uint64_t sums[LANES] = {0};
        for (size_t i = 0; i < part->words; i += LANES)
            for (int lane = 0; lane < LANES; lane++) sums[lane] ^= part->from[i + lane];
        for (int lane = 0; lane < LANES; lane++) part->sum ^= sums[lane];
        pthread_barrier_wait(&barrier);
        if (part->first && now() - begin < best) best = now() - begin;
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: bandwidth THREADS BYTES\n"), 2;
    int threads = atoi(argv[1]);
    if (threads < 1 || threads > 1024) return fprintf(stderr, "bandwidth: 1 to 1024 threads\n"), 2;
    size_t words = strtoull(argv[2], NULL, 10) / 8 / threads / LANES * LANES, bytes = words * 8 * threads;
    uint64_t *array = NULL;
    if (posix_memalign((void **)&array, 2 << 20, bytes)) return fprintf(stderr, "bandwidth: not enough memory\n"), 1;
    madvise(array, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes / 8; i++) array[i] = i * 0x9e3779b97f4a7c15ull;
    pthread_t *handles = calloc(threads, sizeof *handles);
    struct part *parts = calloc(threads, sizeof *parts);
    pthread_barrier_init(&barrier, NULL, threads);
    uint64_t sum = 0;
    for (int t = 0; t < threads; t++) {
        parts[t] = (struct part){array + t * words, words, t == 0, 0};
        pthread_create(&handles[t], NULL, scan, &parts[t]);
    }
    for (int t = 0; t < threads; t++) {
        pthread_join(handles[t], NULL);
        sum ^= parts[t].sum;
    }
    fprintf(stderr, "%llu\n", (unsigned long long)sum); // the sum is used, so the reads happen
    printf("%.2f\n", bytes / best / 1e9);
}

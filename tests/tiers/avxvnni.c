/* AVX-VNNI on processors that have AVX2 only: a library to be preloaded, which carries out the instructions that they refuse.
 *
 *     cc -O2 -shared -fPIC -o avxvnni.so avxvnni.c
 *     LD_PRELOAD=./avxvnni.so PROGRAM
 *
 * The processor raises an exception at each; the handler decodes it, works on the saved registers, and goes on behind it.
 * Every other illegal instruction ends the process as ever. The instructions, VEX.66.0F38.W0 with 128 or 256 bits: 50
 * VPDPBUSD, 51 VPDPBUSDS, 52 VPDPWSSD, 53 VPDPWSSDS (Intel's Software Developer's Manual, volume 2).
 *
 * At the end the number of instructions is written to standard error, so that a test can see that there were any. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

/* Places in the area that XSAVE writes (volume 1, chapter 13): the bits that say what is in it, and the upper halves. */
enum { XSTATE_BV = 512, UPPER_HALVES = 576, AVX_STATE = 1 << 2 };

static atomic_ulong carried_out;

static const int GENERAL[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* The upper halves; before they are touched, those that XSAVE left out because they were zero are written down. */
static uint8_t *upper_halves(ucontext_t *context) {
    uint8_t *area = (uint8_t *)context->uc_mcontext.fpregs;
    uint64_t present;
    memcpy(&present, area + XSTATE_BV, sizeof present);
    if (!(present & AVX_STATE)) {
        memset(area + UPPER_HALVES, 0, 16 * 16);
        present |= AVX_STATE;
        memcpy(area + XSTATE_BV, &present, sizeof present);
    }
    return area + UPPER_HALVES;
}

static void read_vector(ucontext_t *context, int number, uint8_t out[32]) {
    memcpy(out, &context->uc_mcontext.fpregs->_xmm[number], 16);
    memcpy(out + 16, upper_halves(context) + 16 * number, 16);
}

static void write_vector(ucontext_t *context, int number, const uint8_t in[32]) {
    memcpy(&context->uc_mcontext.fpregs->_xmm[number], in, 16);
    memcpy(upper_halves(context) + 16 * number, in + 16, 16);
}

/* The address that a ModRM byte and what follows it name; moves `at` behind them. */
static uint64_t address(ucontext_t *context, const uint8_t **at, int x, int b) {
    const greg_t *regs = context->uc_mcontext.gregs;
    const uint8_t *p = *at;
    int mod = *p >> 6, rm = *p & 7;
    p++;
    uint64_t sum = 0;
    int bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0, relative = 0;
    if (rm == 4) {
        int scale = *p >> 6, index = (*p >> 3 & 7) | x << 3, base = *p & 7;
        p++;
        if (index != 4)
            sum += (uint64_t)regs[GENERAL[index]] << scale;
        if (base == 5 && mod == 0)
            bytes = 4;
        else
            sum += (uint64_t)regs[GENERAL[base | b << 3]];
    } else if (rm == 5 && mod == 0) {
        bytes = 4;
        relative = 1;
    } else {
        sum += (uint64_t)regs[GENERAL[rm | b << 3]];
    }
    int32_t offset = 0;
    if (bytes == 1)
        offset = (int8_t)*p;
    else if (bytes == 4)
        memcpy(&offset, p, 4);
    p += bytes;
    if (relative)
        sum += (uint64_t)p;
    *at = p;
    return sum + (uint64_t)(int64_t)offset;
}

static int32_t lane(int opcode, int32_t acc, const uint8_t *a, const uint8_t *b) {
    int64_t sum = acc;
    if (opcode < 0x52) {
        for (int i = 0; i < 4; i++)
            sum += (int64_t)a[i] * (int8_t)b[i];
    } else {
        int16_t words[2][2];
        memcpy(words[0], a, 4);
        memcpy(words[1], b, 4);
        for (int i = 0; i < 2; i++)
            sum += (int64_t)words[0][i] * words[1][i];
    }
    if (opcode & 1)
        sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
    return (int32_t)(uint32_t)sum;
}

static void refused(int number, siginfo_t *info, void *opaque) {
    (void)info;
    ucontext_t *context = opaque;
    const uint8_t *p = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP];
    int known = p[0] == 0xc4 && (p[1] & 0x1f) == 2 && (p[2] & 0x83) == 1 && p[3] >= 0x50 && p[3] <= 0x53;
    if (!known) {
        signal(number, SIG_DFL); /* The instruction is tried again, and ends the process. */
        return;
    }
    int r = !(p[1] & 0x80), x = !(p[1] & 0x40), b = !(p[1] & 0x20);
    int first = ~p[2] >> 3 & 15, bytes = p[2] & 4 ? 32 : 16, opcode = p[3];
    const uint8_t *at = p + 4;
    int target = (*at >> 3 & 7) | r << 3;

    uint8_t acc[32], left[32], right[32] = {0};
    read_vector(context, target, acc);
    read_vector(context, first, left);
    if (*at >> 6 == 3) {
        read_vector(context, (*at & 7) | b << 3, right);
        at++;
    } else {
        uint64_t from = address(context, &at, x, b);
        memcpy(right, (const void *)from, bytes);
    }
    for (int i = 0; i < bytes; i += 4) {
        int32_t sum;
        memcpy(&sum, acc + i, 4);
        sum = lane(opcode, sum, left + i, right + i);
        memcpy(acc + i, &sum, 4);
    }
    memset(acc + bytes, 0, 32 - bytes); /* A VEX instruction clears what is above its operands. */
    write_vector(context, target, acc);
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)at;
    atomic_fetch_add_explicit(&carried_out, 1, memory_order_relaxed);
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGILL, &action, NULL);
}

__attribute__((destructor)) static void end(void) {
    fprintf(stderr, "avxvnni: %lu instructions carried out\n", atomic_load(&carried_out));
}

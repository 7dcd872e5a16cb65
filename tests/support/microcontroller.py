"""A Cortex-M4 in qemu that runs the C file of an integer network."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genn_eventprop.integer import IntegerNetwork, integer_file

TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm")
FLAGS = ("-std=c99", "-mcpu=cortex-m4", "-mthumb", "-O2", "-Wall", "-Wextra", "-Werror")
LINKER = """
MEMORY { flash (rx) : ORIGIN = 0, LENGTH = 4M  ram (rw) : ORIGIN = 0x20000000, LENGTH = 4M }
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > flash
    .bss (NOLOAD) : { *(.bss*) *(COMMON) } > ram
    /DISCARD/ : { *(.ARM.exidx*) *(.comment*) }
}
"""
MAIN = """
#include <stdint.h>
#include <string.h>
int model_step(const int *, int);
void model_reset(void);
int model_readout(int64_t *);
const uint8_t *model_spikes(int);
int main_(void);
static volatile uint32_t *const systick = (uint32_t *)0xE000E010; /* control, reload, value */

static void host(int operation, const void *argument) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void number(uint32_t n) {
    char text[12];
    int at = 10;
    text[10] = ' ', text[11] = 0;
    do text[--at] = (char)('0' + n % 10); while (n /= 10);
    host(4, text + at);
}

/* Ticks of the system clock since it was last asked. */
static uint32_t ticks(void) {
    static uint32_t before = 0xFFFFFF;
    const uint32_t now = systick[2], passed = (before - now) & 0xFFFFFF;
    before = systick[2];
    return passed;
}

int main_(void) {
    systick[1] = 0xFFFFFF, systick[2] = 0, systick[0] = 5;
    uint32_t total = 0;
    const uint16_t *next = events;
    static int now[N_LIST];
    for (int sample = 0; sample < N_SAMPLES; ++sample) {
        model_reset();
        for (int k = 0; k < N_TRIAL; ++k) {
            const int count = *next++;
            for (int i = 0; i < count; ++i) now[i] = *next++;
            ticks();
            model_step(now, count);
            total += ticks();
            uint32_t sum = 0, n = 0;
            for (int p = 0; p < N_OWN; ++p)
                for (int i = 0; i < sizes[p]; ++i) sum += (uint32_t)model_spikes(p)[i] * ++n;
            number(sum);
        }
        int64_t readout[K_READ];
        number((uint32_t)(model_readout(readout) + 1));
    }
    host(4, "ticks ");
    number(total);
    static const uint32_t done[] = {0x20026, 0};
    host(0x18, (const void *)done[0]);
    return 0;
}

extern char _stack;
__attribute__((section(".vectors"), used)) static const void *vectors[] = {(void *)0x203FFFF0, (void *)main_};
"""


@dataclass(frozen=True)
class Measurement:
    """sums: (S, T) of the spikes of all neurons, each times 1 + its number; classes: (S,); instructions: of a step, on
    average; flash, ram: bytes of the model alone."""

    sums: np.ndarray
    classes: np.ndarray
    instructions: float
    flash: int
    ram: int


def available() -> bool:
    return all(shutil.which(tool) for tool in TOOLS)


def run_on_cortex_m4(network: IntegerNetwork, counts: np.ndarray, folder: Path) -> Measurement:
    """Samples (S, T, M), run by the network's C file in qemu, one instruction a nanosecond."""
    samples, steps, _ = counts.shape
    lists = [np.repeat(np.arange(counts.shape[2]), row) for sample in counts for row in sample]
    events = ", ".join(str(n) for row in lists for n in (len(row), *row))
    sizes = [p.size for p in network.populations]
    outputs = sizes[network.readout.population] if network.readout else 1
    head = f"""
#include <stdint.h>
enum {{ N_LIST = {max(map(len, lists)) + 1}, N_SAMPLES = {samples}, N_TRIAL = {steps}, N_OWN = {len(sizes)} }};
enum {{ K_READ = {outputs} }};
static const uint16_t events[] = {{{events}}};
static const int sizes[] = {{{", ".join(map(str, sizes))}}};
"""
    texts = {"model.c": integer_file(network).text, "main.c": head + MAIN, "board.ld": LINKER}
    for name, text in texts.items():
        (folder / name).write_text(text)
    _call([*TOOLS[:1], *FLAGS, "-pedantic", "-c", "model.c"], folder)
    _call([*TOOLS[:1], *FLAGS, "-nostartfiles", "-T", "board.ld", "main.c", "model.o", "-o", "all.elf"], folder)
    text, data, bss = map(int, _call(["arm-none-eabi-size", "model.o"], folder).splitlines()[1].split()[:3])
    board = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]
    said = _call(
        [*board, "-semihosting-config", "enable=on,target=native", "-icount", "shift=0", "-kernel", "all.elf"], folder
    )
    numbers, _, passed = said.partition("ticks ")
    table = np.array(numbers.split(), np.int64).reshape(samples, steps + 1)
    ticks = int(re.findall(r"\d+", passed)[0])
    return Measurement(table[:, :-1], table[:, -1] - 1, 40.0 * ticks / (samples * steps), text + data, data + bss)


def expected_sums(network: IntegerNetwork, spikes: dict[str, np.ndarray]) -> np.ndarray:
    """What `Measurement.sums` is for these spikes."""
    every = np.concatenate([spikes[p.name] for p in network.populations], axis=2).astype(np.int64)
    return np.asarray(every @ np.arange(1, every.shape[2] + 1))


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command[0]}: {done.stderr or done.stdout}"
    return done.stdout + done.stderr

/* etk/hardware.h: what this machine is, as far as programs need it (a first version: cores, instruction sets, memory). */
#ifndef ETK_HARDWARE_H
#define ETK_HARDWARE_H

#include "status.h"
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum etk_isa { ETK_ISA_BASE = 0, ETK_ISA_NEON = 1, ETK_ISA_AVX2 = 2, ETK_ISA_AVX512 = 3 } etk_isa;

typedef struct etk_hardware {
  char platform[32];     /* "linux", "darwin" */
  char architecture[32]; /* "x86_64", "arm64" */
  char chip[128];        /* "AMD EPYC", "Apple M2 Pro"; "unknown" */
  bool apple_silicon;
  int logical_cores;     /* online in the machine */
  int usable_cores;      /* that this process may run on: affinity and cgroup quota, rounded up */
  int64_t memory_bytes;            /* of the machine, or of the container where that is less */
  int64_t memory_available_bytes;  /* could be had now without swapping */
  etk_isa isa;           /* best instruction set that kernels may use, before ETK_ISA caps it */
  char isa_features[256];/* space-separated: "avx2 fma f16c avx512f avx512vnni avx512bf16" */
} etk_hardware;

void etk_hardware_get(etk_hardware *out);    /* never fails; unknown facts are 0, "unknown" or false; takes under 10 ms */
etk_isa etk_isa_active(void);                /* best ISA capped by $ETK_ISA (base|neon|avx2|avx512); read once */
const char *etk_isa_name(etk_isa isa);
int64_t etk_hardware_peak_rss_bytes(void);   /* this process's peak resident memory */
int64_t etk_time_ns(void);                   /* monotonic */
int64_t etk_cpu_time_ns(void);               /* user + system of this process */

#ifdef __cplusplus
}
#endif
#endif

/* etk/hardware.h: what this machine is: chip, cores, instruction sets, caches, memory, limits, devices, heat and power.
 *
 * Facts come through a provider, so that the published facts of other machines can be replayed. Reading them never fails; an unknown fact is 0, "",
 * "unknown" or false as written at each. Takes under 10 ms without a CUDA driver. */
#ifndef ETK_HARDWARE_H
#define ETK_HARDWARE_H

#include "status.h"
#include "text.h"
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Within x86 and within Arm a larger one has all of a smaller one's instructions. */
typedef enum etk_isa {
  ETK_ISA_BASE = 0, ETK_ISA_NEON = 1, ETK_ISA_AVX2 = 2, ETK_ISA_AVX512 = 3, ETK_ISA_AVX512VNNI = 4,
  ETK_ISA_AVX512BF16 = 5, /* and VNNI */
  ETK_ISA_NEONDOT = 6,    /* NEON with int8 dot products */
  ETK_ISA_NEONMM = 7      /* and with matrix products of int8 (i8mm) and bf16 */
} etk_isa;

typedef struct etk_gpu {
  char name[64];
  char kind[16];          /* "cuda", "metal" */
  char driver[32];        /* version; "" unknown */
  char capability[16];    /* CUDA: "9.0"; "" else */
  int64_t memory_bytes;   /* Metal: the working-set size the system recommends */
  int64_t memory_available_bytes; /* 0: unknown */
} etk_gpu;
enum { ETK_GPUS_MOST = 16 };

typedef struct etk_hardware {
  char platform[32];      /* "linux", "darwin" */
  char architecture[32];  /* "x86_64", "arm64" */
  char os_version[96];    /* "Debian GNU/Linux 12 (bookworm)", "macOS 15.1"; "" unknown */
  char kernel[96];
  char chip[128];         /* "AMD EPYC 9B14", "Apple M2 Pro", "AWS Graviton3"; "unknown" */
  char family[32];        /* "M1" … "M4", "Neoverse V1", "Zen 4"; "" unknown */
  char variant[16];       /* Apple: "", "Pro", "Max", "Ultra" */
  bool apple_silicon;
  bool mlx_available;     /* Apple silicon with an mlx library found */
  bool mps_available;     /* Apple silicon, macOS 12.3 or later */
  bool ane_available;     /* Apple silicon with a Neural Engine */
  int ane_cores;          /* 0: unknown */
  int gpu_cores;          /* Apple; 0: unknown */
  int logical_cores;      /* online in the machine */
  int physical_cores;     /* 0: unknown */
  int performance_cores, efficiency_cores; /* 0, 0: all alike or unknown */
  int sockets, numa_nodes;/* 0: unknown */
  int usable_cores;       /* that this process may run on: affinity and cgroup quota, rounded up */
  double cpu_quota;       /* cores by the container's quota; 0: none */
  int64_t cache_line_bytes, l1d_bytes, l2_bytes, l3_bytes; /* of one cache; 0: unknown */
  int l2_sharing, l3_sharing; /* logical cores that share one; 0: unknown */
  int64_t memory_bytes;            /* of the machine, or of the container where that is less */
  int64_t machine_memory_bytes;
  int64_t memory_available_bytes;  /* could be had now without swapping */
  int64_t memory_limit_bytes;      /* the container's; 0: none */
  int64_t swap_bytes;
  int64_t page_bytes, huge_page_bytes; /* of the default huge page; 0: none */
  char transparent_huge_pages[16]; /* "always", "madvise", "never"; "" unknown */
  bool container;         /* a container runtime, or a limit that is below the machine */
  char hypervisor[32];    /* "kvm", "vmware" …; "" none or unknown */
  etk_isa isa;            /* best instruction set that kernels may use, before ETK_ISA caps it */
  char isa_features[512]; /* space-separated: "avx2 fma f16c avx512f avx512vnni avx512bf16" */
  int64_t max_frequency_hz; /* of the fastest core; 0: unknown */
  double temperature_c;   /* hottest sensor of the CPU; 0: unknown */
  char thermal[16];       /* "nominal", "fair", "serious", "critical"; "" the system does not tell */
  int speed_limit_percent;/* macOS CPU_Speed_Limit, or current over maximum frequency cap on Linux; 0: unknown */
  char power[16];         /* "ac", "battery"; "" unknown */
  int battery_percent;    /* -1: none or unknown */
  char governor[32];      /* Linux cpufreq; "" unknown */
  etk_gpu gpus[ETK_GPUS_MOST];
  int gpu_count;
} etk_hardware;

/* Where facts come from. A member may be NULL. Both fill `out` with at most size-1 bytes and a NUL and return the bytes, or -1 where there is no such fact;
 * `number` facts (online cores, cpuid leaves) come as text too. */
typedef struct etk_hardware_provider {
  void *user;
  /* A file of the system: "/proc/cpuinfo", "/sys/fs/cgroup/cpu.max". */
  int64_t (*file)(void *user, const char *path, char *out, size_t size);
  /* Names of a folder's entries, one a line: "/sys/devices/system/cpu". */
  int64_t (*list)(void *user, const char *path, char *out, size_t size);
  /* "uname.sysname", "uname.machine", "uname.release", "online.cores", "page.bytes". Linux: "affinity.cores", "auxv.hwcap", "auxv.hwcap2". x86:
   * "cpuid.<leaf>.<subleaf>", both in hexadecimal ("cpuid.8000001d.3": "eax ebx ecx edx" in hexadecimal), "xgetbv" (XCR0; unknown: leaf d stands for it).
   * macOS: sysctl by name, numbers in decimal; "mach.free_pages", "mach.inactive_pages", "mach.purgeable_pages" (as vm_stat), "ioreg.gpu-core-count",
   * "pmset.CPU_Speed_Limit", "notify.com.apple.system.thermalpressurelevel", "power.source" ("ac", "battery"), "power.percent",
   * "metal.recommended_working_set_bytes" (slow: only where devices are asked for). */
  int64_t (*fact)(void *user, const char *name, char *out, size_t size);
  bool devices; /* look for CUDA devices through libcuda (this machine only) */
} etk_hardware_provider;
const etk_hardware_provider *etk_hardware_this_machine(void);
const etk_hardware_provider *etk_hardware_without_devices(void); /* the same, never opening a device driver: about a millisecond */
void etk_hardware_read_from(etk_hardware *out, size_t out_size, const etk_hardware_provider *provider);
/* A text file of facts as a provider: "@file /proc/cpuinfo" and the lines of the file up to the next '@' (one that begins with '@', '#' or '\' has a
 * '\' before it), "@fact hw.memsize 17179869184", "@list /sys/… a b c", "#" comments. Anything may be told, nothing twice; at most 16 MiB.
 * Free with etk_facts_free. etk_facts_record writes what reading this machine asked for, in that form, without devices that only a driver knows; host
 * names, serial numbers, network addresses and identifiers of containers and devices are x-ed out. */
typedef struct etk_facts etk_facts;
etk_status etk_facts_load(etk_error *e, etk_facts **out, const char *path);
const etk_hardware_provider *etk_facts_provider(const etk_facts *facts);
void etk_facts_free(etk_facts *facts);
etk_status etk_facts_record(etk_error *e, etk_text *out);

#define etk_hardware_get(out) etk_hardware_read_from((out), sizeof *(out), etk_hardware_this_machine())
void etk_hardware_json(etk_text *out, const etk_hardware *hardware); /* one object; names as above */

/* ---- measured ---- */
typedef struct etk_hardware_limits {
  int threads;                 /* measured with */
  double read_bytes_per_s;     /* memory, several streams a thread */
  double copy_bytes_per_s;     /* read and written ones counted */
  double f32_flops_per_s;      /* FMA, an FMA counts 2; all threads */
  double f32_flops_per_s_core; /* one thread */
  double bf16_flops_per_s, int8_ops_per_s; /* by the dot-product instructions; 0: the CPU has none */
  int64_t measured_unix_ms;
  char chip[128];
} etk_hardware_limits;
/* Measures for about `seconds` (0: 1.5) on the pool of etk/parallel.h; each figure is the best of several short rounds. Takes two buffers of four times
 * the last-level caches (128 MiB to 4 GiB, at most an eighth of the free memory each), so two readings on a busy machine differ. */
etk_status etk_hardware_measure(etk_error *e, etk_hardware_limits *out, double seconds);
/* The last measurement of this machine and this thread count, kept in $XDG_CACHE_HOME/efficientai-toolkit/limits.json; ETK_E_NOT_FOUND: none. */
etk_status etk_hardware_limits_load(etk_error *e, etk_hardware_limits *out);
etk_status etk_hardware_limits_save(etk_error *e, const etk_hardware_limits *limits);

etk_isa etk_isa_best(void);                  /* of this machine; found out once, cheap after */
etk_isa etk_isa_active(void);                /* best ISA capped by $ETK_ISA, read once: base|avx2|avx512|avx512vnni|avx512bf16 or neon|neondot|neonmm, where
                                              * base is neon; a name of another kind of processor is ignored with a warning */
const char *etk_isa_name(etk_isa isa);
int64_t etk_hardware_memory_available(void); /* memory_available_bytes of etk_hardware, alone; 0: unknown */
int64_t etk_hardware_peak_rss_bytes(void);   /* this process's peak resident memory */
int64_t etk_hardware_rss_bytes(void);        /* now */
int64_t etk_time_ns(void);                   /* monotonic */
int64_t etk_cpu_time_ns(void);               /* user + system of this process */

#ifdef __cplusplus
}
#endif
#endif

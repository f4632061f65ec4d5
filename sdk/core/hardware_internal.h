/* hardware_internal.h: what the files of hardware share. Not installed. */
#ifndef ETK_HARDWARE_INTERNAL_H
#define ETK_HARDWARE_INTERNAL_H

#include "etk/hardware.h"

/* ---- facts asked of a provider (hardware_ask.c) ---- */
typedef const etk_hardware_provider provider;
int64_t etk__ask_file(provider *p, char *out, size_t size, const char *format, ...) ETK_PRINTF(4, 5); /* bytes, -1: not there; trailing blanks cut */
int64_t etk__ask_list(provider *p, char *out, size_t size, const char *path);
int64_t etk__ask_fact(provider *p, char *out, size_t size, const char *name);
int64_t etk__ask_number(provider *p, int64_t unknown, const char *fact);           /* a fact in decimal */
int64_t etk__ask_file_number(provider *p, int64_t unknown, const char *format, ...) ETK_PRINTF(3, 4);
bool etk__ask_exists(provider *p, const char *path);
bool etk__ask_cpuid(provider *p, uint32_t out[4], uint32_t leaf, uint32_t sub_leaf);
/* "<key>   : value" at a line's start of text, as /proc writes it; false: no such line. */
bool etk__proc_value(char *out, size_t size, const char *text, const char *key);
int64_t etk__proc_kib(const char *text, const char *key); /* "MemTotal:  5 kB" in bytes; 0: no such line */
int etk__cpu_list_count(const char *list);                /* "0-3,8" is 5; malformed parts count 0 */
bool etk__has_word(const char *words, const char *word);  /* separated by blanks */
void etk__copy(char *out, size_t size, const char *text); /* cut to fit, on a UTF-8 boundary, control characters become blanks */
#define COPY(field, text) etk__copy((field), sizeof(field), (text))

/* Files below `root` ("": this machine's own), other facts this machine's. */
etk_hardware_provider etk__provider_at(const char *root);

/* ---- parts of a description; each fills the fields it can find out ---- */
void etk__read_chip(etk_hardware *out, provider *p);     /* begins: all else unknown, then platform, architecture and what read_cpu finds */
void etk__read_cpu(etk_hardware *out, provider *p);      /* chip, family, instruction sets (hardware_chip.c, hardware_isa.c) */
void etk__read_isa(etk_hardware *out, provider *p);
void etk__read_linux(etk_hardware *out, provider *p);    /* cores, caches, memory, system */
void etk__read_darwin(etk_hardware *out, provider *p);
void etk__read_container(etk_hardware *out, provider *p);
void etk__read_power(etk_hardware *out, provider *p);    /* heat, power, frequencies of Linux */
void etk__read_cuda(etk_hardware *out, provider *p);
void etk__apple_chip(etk_hardware *out, const char *brand);

/* Devices of a CUDA driver opened as `library`; `driver` is a version or "". The number of devices written to out. */
int etk__cuda_devices(etk_gpu *out, int most, const char *library, const char *driver);

/* ---- cores and limits of the container ---- */
typedef struct etk_cgroup {
  double cpu_quota;         /* cores; 0: none */
  int cpuset_cores;         /* 0: none or unknown */
  int64_t memory_limit;     /* bytes; 0: none */
  int64_t memory_headroom;  /* the least that is left below any limit; INT64_MAX: no limit */
} etk_cgroup;
void etk__cgroup_read(etk_cgroup *out, provider *p);
int etk__cgroup_cores(provider *p);                 /* by quota, rounded up, and cpuset; 0: no limit */
int etk__hardware_usable_cores(const char *root);   /* affinity, capped by the cgroup's; at least 1 */
int etk__usable_cores_of(provider *p, int logical);

etk_isa etk__isa_capped(etk_isa best, const char *cap, bool *known); /* cap may be NULL or empty */

/* ---- recording ---- */
void etk__facts_record_from(etk_text *out, provider *p, const char *host_name);
etk_status etk__facts_parse(etk_error *e, etk_facts **out, const char *name, const char *bytes, size_t size);

/* ---- measuring: each runs `rounds` of its loop and returns the operations it did (measure_peak.c) ---- */
typedef double (*etk_peak)(int64_t rounds);
typedef struct etk_peaks {
  etk_peak f32, bf16, int8; /* NULL: the CPU has no such instruction */
  void (*sum)(const void *data, size_t bytes, uint64_t *sum); /* adds up 64-bit words in eight interleaved streams; bytes: a multiple of 512 */
} etk_peaks;
etk_peaks etk__peaks(const char *isa_features);

#endif

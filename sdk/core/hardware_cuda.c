/* hardware_cuda.c: CUDA devices. The driver's library is opened only where the driver itself is there, for opening it takes tens of milliseconds.
 * Declarations after NVIDIA's "CUDA Driver API" reference; only what is called. */
#include "hardware_internal.h"
#include <ctype.h>
#include <dlfcn.h>
#include <unistd.h>

typedef int cuda_result; /* 0: success */
enum { CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 }; /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_… */

typedef struct driver {
  cuda_result (*init)(unsigned flags);
  cuda_result (*count)(int *count);
  cuda_result (*get)(int *device, int ordinal);
  cuda_result (*name)(char *name, int length, int device);
  cuda_result (*memory)(size_t *bytes, int device);
  cuda_result (*attribute)(int *value, int attribute, int device);
  cuda_result (*version)(int *version);
} driver;

static bool find(void *library, void *slot, size_t size, const char *name) {
  void *symbol = dlsym(library, name);
  if (symbol) memcpy(slot, &symbol, size);
  return symbol != NULL;
}

static bool open_driver(driver *d, const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* never closed: drivers leave threads behind */
  if (!library) return false;
#define FIND(member, name) find(library, &d->member, sizeof d->member, name)
  return FIND(init, "cuInit") && FIND(count, "cuDeviceGetCount") && FIND(get, "cuDeviceGet") && FIND(name, "cuDeviceGetName") &&
         FIND(memory, "cuDeviceTotalMem_v2") && FIND(attribute, "cuDeviceGetAttribute") && FIND(version, "cuDriverGetVersion");
#undef FIND
}

int etk__cuda_devices(etk_gpu *out, int most, const char *library, const char *driver_version) {
  driver d;
  int count = 0, filled = 0, version = 0;
  memset(&d, 0, sizeof d);
  if (!open_driver(&d, library) || d.init(0) != 0 || d.count(&count) != 0) return 0;
  d.version(&version);
  for (int i = 0; i < count && filled < most; i++) {
    int device, major = 0, minor = 0;
    size_t bytes = 0;
    char name[128] = "";
    if (d.get(&device, i) != 0 || d.name(name, sizeof name - 1, device) != 0) continue;
    etk_gpu *gpu = &out[filled++];
    memset(gpu, 0, sizeof *gpu);
    COPY(gpu->name, name);
    COPY(gpu->kind, "cuda");
    if (d.memory(&bytes, device) == 0) gpu->memory_bytes = (int64_t)bytes;
    if (d.attribute(&major, CAPABILITY_MAJOR, device) == 0 && d.attribute(&minor, CAPABILITY_MINOR, device) == 0 && major > 0)
      snprintf(gpu->capability, sizeof gpu->capability, "%d.%d", major, minor);
    if (driver_version[0]) COPY(gpu->driver, driver_version);
    else if (version > 0) snprintf(gpu->driver, sizeof gpu->driver, "CUDA %d.%d", version / 1000, version % 1000 / 10);
  }
  return filled;
}

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug …": the first word of digits and dots. */
static void version_word(char *out, size_t size, const char *text) {
  out[0] = 0;
  for (const char *at = text; *at && *at != '\n'; at++) {
    size_t n = strspn(at, "0123456789.");
    bool begins = at == text || isspace((unsigned char)at[-1]), ends = !at[n] || isspace((unsigned char)at[n]);
    if (n == 0 || !begins || !ends || !memchr(at, '.', n)) continue;
    snprintf(out, size, "%.*s", (int)n, at);
    return;
  }
}

/* What the kernel module tells without the library: names, no memory. */
static void by_proc(etk_hardware *out, provider *p, const char *driver_version) {
  char names[4096], text[4096], model[128];
  if (etk__ask_list(p, names, sizeof names, "/proc/driver/nvidia/gpus") <= 0) return;
  for (char *at = names; *at && out->gpu_count < ETK_GPUS_MOST;) {
    size_t n = strcspn(at, " \n");
    char *next = at + n + (at[n] != 0);
    at[n] = 0;
    if (n > 0 && etk__ask_file(p, text, sizeof text, "/proc/driver/nvidia/gpus/%s/information", at) > 0 &&
        etk__proc_value(model, sizeof model, text, "Model")) {
      etk_gpu *gpu = &out->gpus[out->gpu_count++];
      memset(gpu, 0, sizeof *gpu);
      COPY(gpu->name, model);
      COPY(gpu->kind, "cuda");
      COPY(gpu->driver, driver_version);
    }
    at = next;
  }
}

void etk__read_cuda(etk_hardware *out, provider *p) {
  char text[1024] = "", version[32];
  if (etk__ask_file(p, text, sizeof text, "/proc/driver/nvidia/version") < 0 && !(p->devices && access("/dev/nvidiactl", F_OK) == 0)) return;
  version_word(version, sizeof version, text);
  if (p->devices) out->gpu_count += etk__cuda_devices(out->gpus + out->gpu_count, ETK_GPUS_MOST - out->gpu_count, "libcuda.so.1", version);
  if (out->gpu_count == 0) by_proc(out, p, version);
}

/* Matrix products through a BLAS that is opened at the first product; without one, through our kernels. The only file that knows CBLAS.
 *
 * The pool owns the cores, so a BLAS must stay on the calling thread: OpenBLAS is told before it is opened, because that is when it looks.
 * It is also told its core type, unless $OPENBLAS_CORETYPE is set: so ETK_ISA caps products too, and all processors of one instruction set
 * give the same bits. (Zen 5, 0.3.21, training shapes: SkylakeX 250 GFLOP/s per core, as its own choice Cooperlake; Haswell 130.) */
#include "internal.h"

#include <dlfcn.h>
#include <etk/log.h>
#include <etk/parallel.h>
#include <limits.h>
#include <pthread.h>
#if defined(__has_include)
#if __has_include(<cblas.h>)
#include <cblas.h>
_Static_assert(CblasRowMajor == 101 && CblasNoTrans == 111 && CblasTrans == 112, "CBLAS's published constants");
#endif
#endif

enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 };

typedef void sgemm_function(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta, float *c,
                            int ldc);

static struct {
  pthread_once_t once;
  sgemm_function *sgemm; /* NULL: our kernels */
  const char *name;
  void *library;
} blas = {PTHREAD_ONCE_INIT, NULL, "kernels", NULL};

static const char *const libraries[] = {
#ifdef __APPLE__
    "/System/Library/Frameworks/Accelerate.framework/Accelerate", "libopenblas.dylib",
#else
    "libopenblas.so.0", "libopenblas.so", "libblas.so.3",
#endif
};

/* Sets a variable for the time of the opening, unless the user has. */
static bool lend(const char *name, const char *value) { return !getenv(name) && setenv(name, value, 0) == 0; }
static void take_back(bool lent, const char *name) {
  if (lent) unsetenv(name);
}

/* The core type that stands for the instruction set in use; NULL: OpenBLAS chooses. */
static const char *core_type(void) {
  etk_isa isa = etk_isa_active();
  if (isa >= ETK_ISA_AVX512 && isa <= ETK_ISA_AVX512BF16) return "SkylakeX";
  if (isa == ETK_ISA_AVX2) return "Haswell";
  return etk_isa_best() >= ETK_ISA_AVX2 && etk_isa_best() <= ETK_ISA_AVX512BF16 ? "Prescott" : NULL; /* capped to the base of x86-64 */
}

static void open_library(void) {
  const char *choice = getenv("ETK_BLAS"); /* a library's path or name, or "none" */
  if (choice && !strcmp(choice, "none")) return;
  const char *core = core_type();
  bool threads = lend("OPENBLAS_NUM_THREADS", "1"), type = core && lend("OPENBLAS_CORETYPE", core), vec = lend("VECLIB_MAXIMUM_THREADS", "1");
  for (size_t i = 0; i < (choice ? 1 : sizeof libraries / sizeof *libraries) && !blas.sgemm; i++) {
    const char *name = choice ? choice : libraries[i];
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, "cblas_sgemm") : NULL;
    if (symbol) {
      memcpy(&blas.sgemm, &symbol, sizeof symbol);
      blas.name = name;
      blas.library = library;
      void (*set_threads)(int) = NULL; /* for a library that somebody else had opened before */
      if ((symbol = dlsym(library, "openblas_set_num_threads"))) {
        memcpy(&set_threads, &symbol, sizeof symbol);
        set_threads(1);
      }
    } else if (library) dlclose(library);
  }
  take_back(threads, "OPENBLAS_NUM_THREADS");
  take_back(type, "OPENBLAS_CORETYPE");
  take_back(vec, "VECLIB_MAXIMUM_THREADS");
}

/* OpenBLAS asks again and again for its buffer where it gets none, for each thread that calls it. So they are asked for here first, and given back. */
enum { BLAS_BUFFER = 136 << 20, BUFFERS_MOST = 256 };
static bool room_for_buffers(void) {
  void *volatile buffers[BUFFERS_MOST]; /* volatile: a compiler may leave out what is given back unused */
  int wanted = etk_parallel_threads(), got = 0;
  if (wanted > BUFFERS_MOST) wanted = BUFFERS_MOST;
  while (got < wanted && (buffers[got] = malloc(BLAS_BUFFER))) got++;
  for (int i = 0; i < got; i++) free(buffers[i]);
  return got == wanted;
}

static void open_once(void) {
  open_library();
  if (!blas.sgemm || room_for_buffers()) return;
  etk_log(ETK_LOG_WARNING, "%s wants %d MiB of memory for each of %d threads, which this process cannot have; matrix products go without it, slower", blas.name, BLAS_BUFFER >> 20,
          etk_parallel_threads());
  blas.sgemm = NULL;
  blas.name = "kernels";
}

void etk__blas_open(void) { pthread_once(&blas.once, open_once); }

const char *etk__blas_name(void) {
  etk__blas_open();
  return blas.name;
}

/* What only a fast library has. Netlib's reference has none of these and no version to ask for. */
static const char *const fast_symbols[] = {"openblas_get_config", "mkl_get_version", "bli_info_get_version_str", "ATL_buildinfo", "armpl_get_version", "nvpl_blas_get_version"};

void etk_blas_get(etk_blas *out) {
  Dl_info info;
  void *symbol = NULL;
  etk__blas_open();
  *out = (etk_blas){.kind = ETK_BLAS_NONE};
  snprintf(out->library, sizeof out->library, "%s", blas.name);
  if (!blas.sgemm) return;
  memcpy(&symbol, &blas.sgemm, sizeof symbol);
  if (dladdr(symbol, &info) && info.dli_fname) snprintf(out->library, sizeof out->library, "%s", info.dli_fname);
  out->kind = strstr(out->library, "Accelerate") ? ETK_BLAS_FAST : ETK_BLAS_REFERENCE;
  for (size_t i = 0; i < sizeof fast_symbols / sizeof *fast_symbols; i++)
    if (dlsym(blas.library, fast_symbols[i])) out->kind = ETK_BLAS_FAST;
  const char *(*config)(void) = NULL;
  if (!(symbol = dlsym(blas.library, "openblas_get_config"))) return;
  memcpy(&config, &symbol, sizeof config);
  snprintf(out->version, sizeof out->version, "%s", config());
}

void etk__gemm(const struct gemm *g) {
  etk__blas_open();
  if (g->m <= 0 || g->n <= 0) return;
  if (!blas.sgemm || g->k <= 0 || g->m > INT_MAX || g->n > INT_MAX || g->k > INT_MAX || g->lda > INT_MAX || g->ldb > INT_MAX || g->ldc > INT_MAX) {
    etk__kernels()->gemm_f32(g);
    return;
  }
  blas.sgemm(ROW_MAJOR, g->ta ? TRANSPOSED : AS_IS, g->tb ? TRANSPOSED : AS_IS, (int)g->m, (int)g->n, (int)g->k, g->alpha, g->a, (int)g->lda, g->b, (int)g->ldb,
             g->beta, g->c, (int)g->ldc);
}

struct cut {
  const struct gemm *g;
  int64_t pieces;
  bool rows;
};

static void run_piece(const struct cut *cut, int64_t piece) {
  struct gemm g = *cut->g;
  int64_t size = cut->rows ? g.m : g.n;
  int64_t step = (size + cut->pieces - 1) / cut->pieces;
  step = (step + 15) / 16 * 16; /* whole register tiles */
  int64_t begin = piece * step, end = begin + step < size ? begin + step : size;
  if (begin >= end) return;
  if (cut->rows) {
    g.a += g.ta ? begin : begin * g.lda;
    g.c += begin * g.ldc;
    g.m = end - begin;
  } else {
    g.b += g.tb ? begin * g.ldb : begin;
    g.c += begin;
    g.n = end - begin;
  }
  etk__gemm(&g);
}

static void run_pieces(void *user, int64_t begin, int64_t end, int slot) {
  (void)slot;
  for (int64_t i = begin; i < end; i++) run_piece(user, i);
}

/* Few rows of a against the rows of b: memory-bound, so no packing. Some rows of b at a time, which stay in the first cache; each row of a is summed as if it
 * were alone, so that what a token gives does not depend on how many others are computed with it. */
enum { FEW = 4, NEAR_FLOATS = 1 << 13 };
int64_t etk__gemm_alike(bool tb) { return tb ? FEW : 1; }
static void run_matvec(void *user, int64_t begin, int64_t end, int slot) {
  const struct gemm *g = user;
  float sums[256];
  int64_t near = g->m == 1 ? 256 : NEAR_FLOATS / (g->k + 1) / 4 * 4; /* fours: what the kernel sums side by side */
  if (near < 4) near = 4;
  if (near > 256) near = 256;
  (void)slot;
  for (int64_t i = begin, n; i < end; i += n) {
    n = end - i < near ? end - i : near;
    for (int64_t row = 0; row < g->m; row++) {
      float *c = g->c + row * g->ldc + i;
      etk__kernels()->matvec_f32(sums, g->b + i * g->ldb, g->ldb, g->a + row * g->lda, n, g->k);
      for (int64_t j = 0; j < n; j++) c[j] = g->alpha * sums[j] + (g->beta != 0 ? g->beta * c[j] : 0);
    }
  }
}

void etk__gemm_parallel(const struct gemm *g) {
  if (g->m <= FEW && g->tb && (!g->ta || (g->m == 1 && g->lda == 1))) {
    etk_parallel_for(g->n, 1 + 65536 / (g->k + 1), run_matvec, (void *)(uintptr_t)g);
    return;
  }
  etk__blas_open();
  int threads = etk_parallel_threads();
  double work = (double)g->m * (double)g->n * (double)g->k;
  if (threads < 2 || work < 64 * 64 * 64) {
    etk__gemm(g);
    return;
  }
  struct cut cut = {g, threads, g->m >= g->n || g->m >= 32 * threads};
  etk_parallel_for(cut.pieces, 1, run_pieces, &cut);
}

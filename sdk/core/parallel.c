/* parallel.c: a pool that shares out one region at a time.
 *
 * A region is cut into at most `threads` equal pieces, and the piece's number is its slot: which thread runs a piece is chance, but what
 * a slot computes is not. The ticket holds (region number, pieces, next piece) in one word, so that a piece is claimed by one
 * compare-and-swap, and a thread that comes late cannot take a piece of a region it has not seen. The job behind the ticket is written before
 * the ticket is published and stays until its last piece is done. */
#include "etk/parallel.h"
#include "etk/log.h"
#include "etk/text.h"
#include "hardware_internal.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

enum { MAX_THREADS = 1024, SPINS = 1500, STACK = 8 << 20 };

/* Process-wide, guarded as noted. */
static struct {
  pthread_mutex_t region; /* held for the whole of a region, and to start or stop the pool */
  pthread_mutex_t sleep;  /* guards the two conditions, stop and sleepers */
  pthread_cond_t work, done;
  int sleepers;
  bool stop, waiting; /* waiting: the region's caller sleeps on done */

  _Atomic uint64_t ticket; /* region << 32 | pieces << 16 | next */
  _Atomic int pending;     /* pieces not done yet */
  _Atomic int caller_cpu;  /* where the region's caller was when it published */
  int64_t count;           /* the job */
  etk_parallel_body body;
  void *user;

  bool started, fork_handled; /* under region */
  int workers, spins;
  pthread_t threads[MAX_THREADS];
  _Atomic int wanted;   /* by etk_parallel_set_threads; 0: default */
  _Atomic int fallback; /* the default once known, else 0 */
} pool = {
    .region = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static _Thread_local int slot_inside = -1; /* the slot whose body this thread runs */

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int64_t piece_begin(int64_t count, int pieces, int piece) {
  return count / pieces * piece + (piece < count % pieces ? piece : count % pieces);
}

static void run_piece(int64_t count, int pieces, int piece, int slot, etk_parallel_body body, void *user) {
  int outer = slot_inside;
  slot_inside = slot;
  body(user, piece_begin(count, pieces, piece), piece_begin(count, pieces, piece + 1), slot);
  slot_inside = outer;
}

/* Runs one piece of the current region; false: none is left. */
static bool help(void) {
  uint64_t ticket = atomic_load_explicit(&pool.ticket, memory_order_acquire);
  int pieces, piece;
  do {
    pieces = (int)(ticket >> 16 & 0xFFFF), piece = (int)(ticket & 0xFFFF);
    if (piece >= pieces) return false;
  } while (!atomic_compare_exchange_weak_explicit(&pool.ticket, &ticket, ticket + 1, memory_order_acq_rel, memory_order_acquire));
  run_piece(pool.count, pieces, piece, piece, pool.body, pool.user);
  if (atomic_fetch_sub_explicit(&pool.pending, 1, memory_order_acq_rel) == 1) {
    pthread_mutex_lock(&pool.sleep);
    if (pool.waiting) pthread_cond_signal(&pool.done);
    pthread_mutex_unlock(&pool.sleep);
  }
  return true;
}

static bool work_waits(void) {
  uint64_t ticket = atomic_load_explicit(&pool.ticket, memory_order_acquire);
  return (ticket & 0xFFFF) < (ticket >> 16 & 0xFFFF);
}

/* Some kernels leave two threads that sleep often on one core for seconds, while another core idles (seen on Linux 6.18 in a small virtual machine:
 * two threads no faster than one). A worker that finds itself on the caller's core steps off it; which cores it may use stays as it was. */
static void step_aside(int64_t *last_ns) {
#if defined(__linux__)
  int cpu = sched_getcpu();
  if (pool.spins == 0 || cpu < 0 || cpu >= CPU_SETSIZE || cpu != atomic_load_explicit(&pool.caller_cpu, memory_order_relaxed)) return;
  int64_t now = etk_time_ns();
  cpu_set_t allowed, others;
  if (now - *last_ns < 2000000 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return; /* a move costs some 10 us: not all the time */
  *last_ns = now;
  others = allowed;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  sched_setaffinity(0, sizeof allowed, &allowed);
#else
  (void)last_ns;
#endif
}

static int this_cpu(void) {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

static void *worker(void *unused) {
  (void)unused;
  int64_t moved_ns = 0;
  for (;;) {
    step_aside(&moved_ns);
    while (help()) continue;
    for (int i = 0; i < pool.spins && !work_waits(); i++) relax();
    if (work_waits()) continue;
    pthread_mutex_lock(&pool.sleep);
    pool.sleepers++;
    while (!pool.stop && !work_waits()) pthread_cond_wait(&pool.work, &pool.sleep);
    pool.sleepers--;
    bool stop = pool.stop;
    pthread_mutex_unlock(&pool.sleep);
    if (stop) return NULL;
  }
}

/* In the child only the forking thread lives: the pool is as if never started. Memory of a region in flight belongs to threads that are gone. */
static void forget(void) {
  pthread_mutex_init(&pool.region, NULL);
  pthread_mutex_init(&pool.sleep, NULL);
  pthread_cond_init(&pool.work, NULL);
  pthread_cond_init(&pool.done, NULL);
  pool.sleepers = pool.workers = 0;
  pool.started = pool.stop = pool.waiting = false;
  atomic_store(&pool.ticket, 0);
  atomic_store(&pool.pending, 0);
}

/* Under region. Fewer threads than wanted, or none, is fine: the caller takes what nobody else does. */
static void start(int threads) {
  pool.started = true;
  pool.workers = 0;
  if (!pool.fork_handled) pool.fork_handled = pthread_atfork(NULL, NULL, forget) == 0;
  /* Spinning for work only helps where the others have cores of their own. */
  pool.spins = threads <= etk__hardware_usable_cores("") ? SPINS : 0;
  atomic_store_explicit(&pool.caller_cpu, this_cpu(), memory_order_relaxed);
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return;
  pthread_attr_setstacksize(&attributes, STACK);
  sigset_t all, old; /* signals such as Ctrl-C are the caller's, faults stay with the thread that made them */
  sigfillset(&all);
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(&all, faults[i]);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  while (pool.workers < threads - 1 && pthread_create(&pool.threads[pool.workers], &attributes, worker, NULL) == 0) pool.workers++;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attributes);
}

/* Under region. */
static void stop(void) {
  if (!pool.started) return;
  pthread_mutex_lock(&pool.sleep);
  pool.stop = true;
  pthread_cond_broadcast(&pool.work);
  pthread_mutex_unlock(&pool.sleep);
  for (int i = 0; i < pool.workers; i++) pthread_join(pool.threads[i], NULL);
  pool.stop = pool.started = false;
  pool.workers = 0;
}

static void publish(int64_t count, int pieces, etk_parallel_body body, void *user) {
  pool.count = count;
  pool.body = body;
  pool.user = user;
  atomic_store_explicit(&pool.pending, pieces, memory_order_relaxed);
  atomic_store_explicit(&pool.caller_cpu, this_cpu(), memory_order_relaxed);
  uint64_t region = (atomic_load_explicit(&pool.ticket, memory_order_relaxed) >> 32) + 1;
  atomic_store_explicit(&pool.ticket, region << 32 | (uint64_t)pieces << 16, memory_order_release);
  pthread_mutex_lock(&pool.sleep);
  if (pool.sleepers > pieces - 1)
    for (int i = 1; i < pieces; i++) pthread_cond_signal(&pool.work);
  else if (pool.sleepers > 0) pthread_cond_broadcast(&pool.work);
  pthread_mutex_unlock(&pool.sleep);
}

static void await(void) {
  for (int i = 0; i < pool.spins; i++, relax())
    if (atomic_load_explicit(&pool.pending, memory_order_acquire) == 0) return;
  pthread_mutex_lock(&pool.sleep);
  pool.waiting = true;
  while (atomic_load_explicit(&pool.pending, memory_order_acquire) != 0) pthread_cond_wait(&pool.done, &pool.sleep);
  pool.waiting = false;
  pthread_mutex_unlock(&pool.sleep);
}

void etk_parallel_for(int64_t count, int64_t grain, etk_parallel_body body, void *user) {
  if (count <= 0) return;
  if (grain < 1) grain = 1;
  int threads = etk_parallel_threads();
  int pieces = count / grain < threads ? (int)(count / grain) : threads;
  if (pieces < 1) pieces = 1;
  if (slot_inside >= 0) { /* the same pieces, one after the other, in the slot this thread has */
    for (int i = 0; i < pieces; i++) run_piece(count, pieces, i, slot_inside, body, user);
    return;
  }
  pthread_mutex_lock(&pool.region); /* another thread's region: wait for it, so that no two bodies share a slot */
  if (pieces == 1) {
    run_piece(count, 1, 0, 0, body, user);
  } else {
    if (!pool.started) start(threads);
    publish(count, pieces, body, user);
    while (help()) continue;
    await();
  }
  pthread_mutex_unlock(&pool.region);
}

static int default_threads(void) {
  const char *text = getenv("EFFICIENTAI_THREADS");
  int64_t threads;
  if (text && *text) {
    if (!etk_parse_int(NULL, &threads, text) && threads >= 1 && threads <= MAX_THREADS) return (int)threads;
    etk_log(ETK_LOG_WARNING, "EFFICIENTAI_THREADS is '%s'; a whole number from 1 to %d is wanted, so it is ignored", text, MAX_THREADS);
  }
  int cores = etk__hardware_usable_cores("");
  return cores < MAX_THREADS ? cores : MAX_THREADS;
}

int etk_parallel_threads(void) {
  int threads = atomic_load_explicit(&pool.wanted, memory_order_relaxed);
  if (threads > 0) return threads;
  threads = atomic_load_explicit(&pool.fallback, memory_order_relaxed);
  if (threads > 0) return threads;
  threads = default_threads();
  atomic_store_explicit(&pool.fallback, threads, memory_order_relaxed);
  return threads;
}

void etk_parallel_set_threads(int threads) {
  threads = threads < 0 ? 0 : threads > MAX_THREADS ? MAX_THREADS : threads;
  pthread_mutex_lock(&pool.region);
  if (threads == 0) atomic_store(&pool.fallback, 0); /* the environment may have changed */
  int before = atomic_exchange(&pool.wanted, threads);
  if (before != threads) stop();
  pthread_mutex_unlock(&pool.region);
}

void etk_parallel_shutdown(void) {
  pthread_mutex_lock(&pool.region);
  stop();
  pthread_mutex_unlock(&pool.region);
}

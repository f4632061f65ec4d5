/* parallel.c: a pool that shares out one region at a time.
 *
 * A region is cut into pieces, and each thread has a part of them: a word (region number, first piece, end) from which its owner takes the first and others
 * the last, each by one compare-and-swap, so that a thread that comes late cannot take a piece of a region it has not seen. The job behind the words
 * is written before them and stays until the region's last piece is done; it is read only by who holds a piece. In etk_parallel_for each part is one
 * piece, whose number is its slot: which thread runs a piece is chance, but what a slot computes is not. */
#include "etk/parallel.h"
#include "etk/log.h"
#include "etk/text.h"
#include "parallel_internal.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

enum { MAX_THREADS = 1024, PIECES = 4, SPIN_NS = 50000, SPINS_BETWEEN = 32, STACK = 8 << 20 };
#define OWN (UINT64_C(1) << 16) /* in a ticket: nobody takes from others */

/* Process-wide, guarded as noted. */
static struct {
  pthread_mutex_t region; /* held for the whole of a region, and to start or stop the pool */
  pthread_mutex_t sleep;  /* guards the two conditions and stop */
  pthread_cond_t work, done;
  bool stop;
  _Atomic int sleepers;
  _Atomic bool waiting; /* the region's caller sleeps on done */

  _Alignas(64) _Atomic int pending; /* pieces not done yet */
  _Alignas(64) _Atomic uint64_t ticket; /* region << 32 | OWN | parts; in one line with the job */
  struct job {
    int64_t count;
    etk_parallel_body body;
    void *user;
    int pieces;
    bool shared; /* a slot is a thread's, not a piece's */
  } job;
  _Atomic int caller_cpu; /* where the region's caller was when it published */
  struct part {
    _Alignas(64) _Atomic uint64_t left; /* region << 32 | first << 16 | end */
  } parts[MAX_THREADS];

  bool started, fork_handled; /* under region */
  int workers, nodes;         /* nodes: of memory, over which pinned threads lie; 0: none is pinned */
  int64_t spin_ns;
  pthread_t threads[MAX_THREADS];
  int cpus[MAX_THREADS]; /* of pinned threads; 0 is the caller's, who is left alone */
  _Atomic int wanted;    /* by etk_parallel_set_threads; 0: default */
  _Atomic int fallback;  /* the default once known, else 0 */
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

static void run_piece(const struct job *job, int piece, int slot) {
  int outer = slot_inside;
  slot_inside = slot;
  job->body(job->user, piece_begin(job->count, job->pieces, piece), piece_begin(job->count, job->pieces, piece + 1), slot);
  slot_inside = outer;
}

/* A piece of the region from part `number`, its owner's first or another's last; -1: none is left there. */
static int take(uint32_t region, int number, bool last) {
  _Atomic uint64_t *left = &pool.parts[number].left;
  uint64_t now = atomic_load_explicit(left, memory_order_relaxed);
  for (;;) {
    int first = (int)(now >> 16 & 0xFFFF), end = (int)(now & 0xFFFF);
    if ((uint32_t)(now >> 32) != region || first >= end) return -1;
    uint64_t then = last ? now - 1 : now + (1 << 16);
    if (atomic_compare_exchange_weak_explicit(left, &now, then, memory_order_acquire, memory_order_relaxed)) return last ? end - 1 : first;
  }
}

/* Runs what there is for a thread in a region. */
static void help(uint64_t ticket, int thread) {
  uint32_t region = (uint32_t)(ticket >> 32);
  int parts = (int)(ticket & 0xFFFF), done = 0;
  for (int i = thread < parts ? 0 : 1; i < parts && !(i > 0 && ticket & OWN); i++)
    for (int piece; (piece = take(region, (thread + i) % parts, i > 0)) >= 0; done++) run_piece(&pool.job, piece, pool.job.shared ? thread : piece);
  if (done == 0 || atomic_fetch_sub(&pool.pending, done) != done || !atomic_load(&pool.waiting)) return;
  pthread_mutex_lock(&pool.sleep);
  pthread_cond_signal(&pool.done);
  pthread_mutex_unlock(&pool.sleep);
}

static bool is_new(uint32_t seen) { return (uint32_t)(atomic_load(&pool.ticket) >> 32) != seen; }
static bool is_done(uint32_t unused) {
  (void)unused;
  return atomic_load(&pool.pending) == 0;
}
static bool spin(bool (*ready)(uint32_t), uint32_t argument) {
  for (int64_t until = 0; pool.spin_ns; until = until ? until : etk_time_ns() + pool.spin_ns) {
    for (int i = 0; i < SPINS_BETWEEN; i++, relax())
      if (ready(argument)) return true;
    if (until && etk_time_ns() >= until) break;
  }
  return ready(argument);
}

/* Some kernels leave two threads that sleep often on one core for seconds, while another core idles (seen on Linux 6.18 in a small virtual machine:
 * two threads no faster than one). A worker that finds itself on the caller's core steps off it; which cores it may use stays as it was. */
static void step_aside(int64_t *last_ns) {
#if defined(__linux__)
  int cpu = sched_getcpu();
  if (pool.spin_ns == 0 || pool.nodes > 0 || cpu < 0 || cpu >= CPU_SETSIZE || cpu != atomic_load_explicit(&pool.caller_cpu, memory_order_relaxed)) return;
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

static void pin(int thread) {
#if defined(__linux__)
  if (pool.nodes == 0) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  if (pool.cpus[thread] < CPU_SETSIZE) CPU_SET(pool.cpus[thread], &one);
  sched_setaffinity(0, sizeof one, &one);
#else
  (void)thread;
#endif
}

static void *worker(void *user) {
  int thread = (int)(intptr_t)user;
  int64_t moved_ns = 0;
  uint32_t seen = 0;
  bool stop = false;
  pin(thread);
  while (!stop) {
    step_aside(&moved_ns);
    if (!spin(is_new, seen)) {
      pthread_mutex_lock(&pool.sleep);
      atomic_fetch_add(&pool.sleepers, 1);
      while (!pool.stop && !is_new(seen)) pthread_cond_wait(&pool.work, &pool.sleep);
      atomic_fetch_sub(&pool.sleepers, 1);
      stop = pool.stop;
      pthread_mutex_unlock(&pool.sleep);
    }
    uint64_t ticket = atomic_load(&pool.ticket);
    if (!stop) help(ticket, thread);
    seen = (uint32_t)(ticket >> 32);
  }
  return NULL;
}

/* In the child only the forking thread lives: the pool is as if never started. Memory of a region in flight belongs to threads that are gone. */
static void forget(void) {
  pthread_mutex_init(&pool.region, NULL);
  pthread_mutex_init(&pool.sleep, NULL);
  pthread_cond_init(&pool.work, NULL);
  pthread_cond_init(&pool.done, NULL);
  pool.workers = pool.nodes = 0;
  pool.started = pool.stop = false;
  atomic_store(&pool.sleepers, 0);
  atomic_store(&pool.waiting, false);
  atomic_store(&pool.ticket, 0);
  atomic_store(&pool.pending, 0);
}

#if defined(__linux__)
static bool may_run_on(void *set, int cpu) { return cpu < CPU_SETSIZE && CPU_ISSET(cpu, (cpu_set_t *)set); }
#endif
/* How many nodes of memory pinned threads lie on; 0: they are not to be pinned. */
static int choose_places(int threads) {
  const char *text = getenv("ETK_PIN");
  if (!text || !*text || !strcmp(text, "0")) return 0;
  if (strcmp(text, "1") != 0) {
    etk_log(ETK_LOG_WARNING, "ETK_PIN is '%s'; 0 or 1 is wanted, so it is ignored", text);
    return 0;
  }
#if defined(__linux__)
  cpu_set_t allowed;
  etk_hardware_provider here = etk__provider_at("");
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return etk__parallel_places(pool.cpus, threads, &here, may_run_on, &allowed);
#endif
  return 0;
}

/* Under region. Fewer threads than wanted, or none, is fine: the others take what nobody else does. */
static void start(int threads) {
  pool.started = true;
  pool.workers = 0;
  if (!pool.fork_handled) pool.fork_handled = pthread_atfork(NULL, NULL, forget) == 0;
  /* Looking for work only helps where the others have cores of their own. */
  pool.spin_ns = threads <= etk__hardware_usable_cores("") ? SPIN_NS : 0;
  pool.nodes = choose_places(threads);
  atomic_store_explicit(&pool.caller_cpu, this_cpu(), memory_order_relaxed);
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return;
  pthread_attr_setstacksize(&attributes, STACK);
  sigset_t all, old; /* signals such as Ctrl-C are the caller's, faults stay with the thread that made them */
  sigfillset(&all);
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(&all, faults[i]);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  while (pool.workers < threads - 1 && pthread_create(&pool.threads[pool.workers], &attributes, worker, (void *)(intptr_t)(pool.workers + 1)) == 0) pool.workers++;
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

/* Also wakes who sleeps: as many as there are parts for others, or all where each has to run its own. */
static void publish(const struct job *job, int parts) {
  uint64_t region = (uint64_t)(uint32_t)((atomic_load_explicit(&pool.ticket, memory_order_relaxed) >> 32) + 1) << 32;
  uint64_t own = pool.nodes > 1 && !job->shared && parts <= pool.workers + 1 ? OWN : 0;
  pool.job = *job;
  atomic_store_explicit(&pool.pending, job->pieces, memory_order_relaxed);
  atomic_store_explicit(&pool.caller_cpu, this_cpu(), memory_order_relaxed);
  for (int i = 0; i < parts; i++)
    atomic_store_explicit(&pool.parts[i].left, region | (uint64_t)(job->pieces * i / parts) << 16 | (uint64_t)(job->pieces * (i + 1) / parts), memory_order_release);
  atomic_store(&pool.ticket, region | own | (uint64_t)parts);
  if (atomic_load(&pool.sleepers) == 0) return;
  pthread_mutex_lock(&pool.sleep);
  if (own || atomic_load(&pool.sleepers) < parts) pthread_cond_broadcast(&pool.work);
  else
    for (int i = 1; i < parts; i++) pthread_cond_signal(&pool.work);
  pthread_mutex_unlock(&pool.sleep);
}

static void await(void) {
  if (spin(is_done, 0)) return;
  pthread_mutex_lock(&pool.sleep);
  atomic_store(&pool.waiting, true);
  while (!is_done(0)) pthread_cond_wait(&pool.done, &pool.sleep);
  atomic_store(&pool.waiting, false);
  pthread_mutex_unlock(&pool.sleep);
}

static void run_region(int64_t count, int64_t grain, bool shared, etk_parallel_body body, void *user) {
  if (count <= 0) return;
  if (grain < 1) grain = 1;
  int threads = etk_parallel_threads(), most = shared && threads > 1 ? PIECES * threads : threads;
  struct job job = {count, body, user, count / grain < most ? (int)(count / grain) : most, shared};
  if (job.pieces < 1) job.pieces = 1;
  if (slot_inside >= 0) { /* the same pieces, one after the other, in the slot this thread has */
    for (int i = 0; i < job.pieces; i++) run_piece(&job, i, slot_inside);
    return;
  }
  pthread_mutex_lock(&pool.region); /* another thread's region: wait for it, so that no two bodies share a slot */
  if (job.pieces == 1) {
    run_piece(&job, 0, 0);
  } else {
    if (!pool.started) start(threads);
    publish(&job, job.pieces < threads ? job.pieces : threads);
    help(atomic_load_explicit(&pool.ticket, memory_order_relaxed), 0);
    await();
  }
  pthread_mutex_unlock(&pool.region);
}

void etk_parallel_for(int64_t count, int64_t grain, etk_parallel_body body, void *user) { run_region(count, grain, false, body, user); }
void etk_parallel_share(int64_t count, int64_t grain, etk_parallel_body body, void *user) { run_region(count, grain, true, body, user); }

static int default_threads(void) {
  static const char *const names[] = {"ETK_THREADS", "EFFICIENTAI_THREADS"}; /* beside ETK_ISA; among the host's variables */
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    const char *text = getenv(names[i]);
    int64_t threads;
    if (!text || !*text) continue;
    if (!etk_parse_int(NULL, &threads, text) && threads >= 1 && threads <= MAX_THREADS) return (int)threads;
    etk_log(ETK_LOG_WARNING, "%s is '%s'; a whole number from 1 to %d is wanted, so it is ignored", names[i], text, MAX_THREADS);
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

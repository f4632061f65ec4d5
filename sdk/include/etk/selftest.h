/* etk/selftest.h: tests that a plugin ships and that run on a user's machine: `efficientai-toolkit test NAMESPACE`.
 *
 *   static etk_status loss_falls(etk_run *run) { return … ? ETK_OK : etk_run_fail(run, ETK_E_CHECK, "the loss rose from %g to %g", a, b); }
 *   static const etk_selftest_case cases[] = {{"the loss falls over ten steps", "train", loss_falls}};
 *   ETK_SELFTEST(selftest, cases)
 *   static const void *query(const char *id) { return strcmp(id, ETK_SELFTEST_ID) ? NULL : &selftest; }
 *
 * Each case runs in a child process of its own after init, so a crash, an exit or a hang (120 s) fails that case only. It has the services of etk_run; its
 * run folder (etk_run_dir) is a fresh temporary folder, removed after. ETK_OK passes; ETK_E_UNAVAILABLE skips, with the message as the reason; anything
 * else fails. A case needs no network, no file outside its folder and the plugin's data, and no second. */
#ifndef ETK_SELFTEST_H
#define ETK_SELFTEST_H

#include "project.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ETK_SELFTEST_ID "etk.selftest/1"
typedef struct etk_selftest_case {
  const char *name;   /* a sentence about one behaviour */
  const char *covers; /* commands it exercises, separated by spaces, for --coverage; "" none */
  etk_status (*run)(etk_run *run);
} etk_selftest_case;
typedef struct etk_selftest {
  uint32_t struct_size;
  uint32_t count, stride; /* of the cases */
  const etk_selftest_case *cases;
} etk_selftest;
#define ETK_SELFTEST(name, table) \
  static const etk_selftest name = {(uint32_t)sizeof(etk_selftest), (uint32_t)(sizeof(table) / sizeof((table)[0])), (uint32_t)sizeof((table)[0]), table};

#ifdef __cplusplus
}
#endif
#endif

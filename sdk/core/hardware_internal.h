/* hardware_internal.h: facts read below a root folder ("": the machine's own), so that other machines can be replayed. Not installed. */
#ifndef ETK_HARDWARE_INTERNAL_H
#define ETK_HARDWARE_INTERNAL_H

#include "etk/hardware.h"

int etk__hardware_usable_cores(const char *root);            /* affinity, capped by the cgroup's quota rounded up; at least 1 */
int etk__cgroup_cores(const char *root);                     /* 0: no limit */
int64_t etk__cgroup_memory(const char *root, int64_t *used); /* bytes; 0: no limit. *used: what counts against the limit */
void etk__hardware_read(etk_hardware *out, const char *root);
etk_isa etk__isa_capped(etk_isa best, const char *cap, bool *known); /* cap may be NULL or empty */

#endif

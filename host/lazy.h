/* lazy.h: libraries that are opened at the moment something needs them, so that starting costs nothing: libetk-media, libetk-io, libedit.
 *
 *   __typeof__(&etk_chart_svg) svg = LAZY(&e, "libetk-media.so.0", etk_chart_svg);
 *   if (!svg) return …;   the message names the library, why it did not open, and what to install */
#ifndef LAZY_H
#define LAZY_H

#include <etk/status.h>

/* The function, or NULL with ETK_E_UNAVAILABLE. Ours are found beside the executable (../lib), others where the system looks. */
void *lazy_symbol(etk_error *e, const char *library, const char *symbol);
/* A library of ours from beside libetk; NULL: it is none of ours, or not there. */
void *lazy_open_ours(const char *library);
#define LAZY(e, library, function) ((__typeof__(&function))lazy_symbol((e), (library), #function))

#endif

/* curl.h: libcurl, opened at the first request (it brings some thirty libraries, which nobody pays for who does not download). */
#ifndef ETK_NET_CURL_H
#define ETK_NET_CURL_H

#include <curl/curl.h>
#include <etk/status.h>
#include <stdbool.h>

#define CURL_FUNCTIONS(F)                                                                                                        \
  F(global_init) F(easy_init) F(easy_cleanup) F(easy_setopt) F(easy_perform) F(easy_getinfo) F(easy_strerror) F(easy_reset)      \
  F(slist_append) F(slist_free_all) F(multi_init) F(multi_cleanup) F(multi_add_handle) F(multi_remove_handle) F(multi_perform)   \
  F(multi_poll) F(multi_info_read)
/* typeof asks for the functions' own types; curl's checking macros stand in the way. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
struct etk__curl {
#define F(name) __typeof__(&curl_##name) name;
  CURL_FUNCTIONS(F)
#undef F
};
/* NULL and an error (ETK_E_UNAVAILABLE) where there is none. Thread-safe. */
const struct etk__curl *etk__curl_open(etk_error *e);

/* What every transfer has: redirects, timeouts, protocols, certificate checks, our name. error: CURL_ERROR_SIZE bytes. */
void etk__curl_prepare(const struct etk__curl *curl, CURL *easy, const char *url, struct curl_slist *headers, char *error);
/* A failed transfer, or an answer that is no success, in words; what: the thing that was asked for. */
etk_status etk__curl_fail(etk_error *e, const struct etk__curl *curl, CURLcode code, long answer, const char *detail, const char *what, const char *url);
/* Is it worth another try? */
bool etk__curl_passing(CURLcode code, long answer);

#endif

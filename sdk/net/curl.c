#include "curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static struct {
  pthread_once_t once;
  struct etk__curl functions;
  bool open;
  char why[200];
} curl = {.once = PTHREAD_ONCE_INIT};

static bool take(void *library, const char *name, void *to) {
  void *symbol = dlsym(library, name);
  if (!symbol) snprintf(curl.why, sizeof curl.why, "libcurl has no function %s", name);
  else memcpy(to, &symbol, sizeof symbol);
  return symbol != NULL;
}

static void open_library(void) {
#ifdef __APPLE__
  static const char *const names[] = {"libcurl.4.dylib", "libcurl.dylib"};
#else
  static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
#endif
  void *library = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(curl.why, sizeof curl.why, "libcurl cannot be opened (%.120s)", dlerror());
    return;
  }
#define F(name) if (!take(library, "curl_" #name, &curl.functions.name)) return;
  CURL_FUNCTIONS(F)
#undef F
  curl.open = curl.functions.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  if (!curl.open) snprintf(curl.why, sizeof curl.why, "libcurl does not start");
}

const struct etk__curl *etk__curl_open(etk_error *e) {
  pthread_once(&curl.once, open_library);
  if (curl.open) return &curl.functions;
  etk_fail(e, ETK_E_UNAVAILABLE, "downloads need libcurl: %s; install it (Debian: libcurl4)", curl.why);
  return NULL;
}

void etk__curl_prepare(const struct etk__curl *c, CURL *easy, const char *url, struct curl_slist *headers, char *error) {
  error[0] = 0;
  c->easy_setopt(easy, CURLOPT_URL, url);
  c->easy_setopt(easy, CURLOPT_HTTPHEADER, headers); /* libcurl keeps Authorization from other hosts after a redirect */
  c->easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
  c->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  c->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
  c->easy_setopt(easy, CURLOPT_MAXREDIRS, 8L);
#if LIBCURL_VERSION_NUM >= 0x075500
  c->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  c->easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
  c->easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
  c->easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
  c->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 15000L);
  c->easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  c->easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, 30L);
  c->easy_setopt(easy, CURLOPT_USERAGENT, "efficientai-toolkit/" ETK_VERSION);
}

bool etk__curl_passing(CURLcode code, long answer) {
  static const CURLcode codes[] = {CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_PARTIAL_FILE, CURLE_OPERATION_TIMEDOUT, CURLE_SSL_CONNECT_ERROR,
                                   CURLE_GOT_NOTHING, CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_HTTP2, CURLE_HTTP2_STREAM};
  if (code == CURLE_OK) return answer == 408 || answer == 429 || answer >= 500;
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (code == codes[i]) return true;
  return false;
}

etk_status etk__curl_fail(etk_error *e, const struct etk__curl *c, CURLcode code, long answer, const char *detail, const char *what, const char *url) {
  if (code != CURLE_OK) return etk_fail(e, ETK_E_IO, "%s: %s (from %s)", what, detail && *detail ? detail : c->easy_strerror(code), url);
  switch (answer) {
  case 401:
    return etk_fail(e, ETK_E_PERMISSION, "%s: the server does not say who may read it (401): there is no such model, or it is private; check the name, or give a token in HF_TOKEN (%s)", what, url);
  case 403: return etk_fail(e, ETK_E_PERMISSION, "%s: access is refused (403): ask for it on the model's page, and give the token of that account in HF_TOKEN (%s)", what, url);
  case 404: return etk_fail(e, ETK_E_NOT_FOUND, "%s: not there (404); check the name and the revision (%s)", what, url);
  case 429: return etk_fail(e, ETK_E_UNAVAILABLE, "%s: too many requests (429); wait, or give a token in HF_TOKEN (%s)", what, url);
  default: return etk_fail(e, ETK_E_IO, "%s: the server answered %ld (%s)", what, answer, url);
  }
}

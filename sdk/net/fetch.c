#include "fetch.h"

#include "curl.h"
#include <errno.h>
#include <etk/alloc.h>
#include <etk/fs.h>
#include <etk/hardware.h>
#include <etk/text.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 6, TEXT_TRIES = 4, CONNECTIONS_MOST = 64, WAIT_MOST_S = 60, POLL_MS = 100 };
static const int64_t part_default = INT64_C(16) << 20;

static struct curl_slist *headers_for(const struct etk__curl *c, const char *bearer) {
  etk_text line = ETK_TEXT_INIT;
  if (!bearer) return NULL;
  etk_text_printf(&line, "Authorization: Bearer %s", bearer);
  struct curl_slist *list = line.failed ? NULL : c->slist_append(NULL, line.data);
  etk_text_free(&line);
  return list;
}

/* Until the next try: what the server asks for, else 0.25 s, 0.5 s, 1 s … */
static int64_t pause_ns(const struct etk__curl *c, CURL *easy, int tries) {
  curl_off_t asked = 0;
  c->easy_getinfo(easy, CURLINFO_RETRY_AFTER, &asked);
  if (asked > 0) return (asked < WAIT_MOST_S ? asked : WAIT_MOST_S) * INT64_C(1000000000);
  return INT64_C(250000000) << (tries < TRIES ? tries : TRIES);
}

/* ---- a small body ---- */
struct body {
  etk_text text;
  size_t limit;
  bool large;
};

static size_t keep(char *bytes, size_t one, size_t count, void *user) {
  struct body *b = user;
  (void)one;
  b->large = b->text.size + count > b->limit;
  if (b->large) return 0;
  etk_text_append(&b->text, bytes, count);
  return b->text.failed ? 0 : count;
}

etk_status etk__fetch_text(etk_error *e, char **out, size_t *size, const char *url, const char *bearer, size_t limit, const char *what) {
  *out = NULL;
  const struct etk__curl *c = etk__curl_open(e);
  if (!c) return e ? e->status : ETK_E_UNAVAILABLE;
  CURL *easy = c->easy_init();
  struct curl_slist *headers = headers_for(c, bearer);
  char detail[CURL_ERROR_SIZE];
  struct body body = {ETK_TEXT_INIT, limit, false};
  CURLcode code = CURLE_OUT_OF_MEMORY;
  long answer = 0;
  for (int tries = 0; easy && (!bearer || headers) && tries < TEXT_TRIES; tries++) {
    etk_text_free(&body.text);
    etk__curl_prepare(c, easy, url, headers, detail);
    c->easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep);
    c->easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    code = c->easy_perform(easy);
    c->easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &answer);
    if (!etk__curl_passing(code, answer) || tries + 1 == TEXT_TRIES) break;
    int64_t pause = pause_ns(c, easy, tries);
    nanosleep(&(struct timespec){pause / 1000000000, pause % 1000000000}, NULL);
  }
  etk_status status = ETK_OK;
  if (body.text.failed || code == CURLE_OUT_OF_MEMORY) status = etk_fail_memory(e);
  else if (body.large) status = etk_fail(e, ETK_E_FORMAT, "%s: the answer is larger than %zu bytes (%s)", what, limit, url);
  else if (code != CURLE_OK || answer < 200 || answer > 299) status = etk__curl_fail(e, c, code, answer, detail, what, url);
  if (!status) {
    *size = body.text.size;
    *out = body.text.data ? etk_text_take(&body.text) : etk_strdup("");
    if (!*out) status = etk_fail_memory(e);
  }
  etk_text_free(&body.text);
  c->slist_free_all(headers);
  if (easy) c->easy_cleanup(easy);
  return status;
}

/* ---- files in parts ---- */
enum part_state { PART_OPEN, PART_RUNNING, PART_DONE };
struct file {
  const struct etk__fetch_item *item;
  int fd, parts_fd;
  int64_t part_bytes, parts, left;
  unsigned char *states;
  bool ranges; /* the server has shown that it sends ranges: parts beside the first may be asked for */
};
struct transfer {
  struct fetching *all;
  CURL *easy;
  struct file *file; /* NULL: idle */
  int64_t part, begin, end, at; /* bytes of the file; at: what is written up to */
  int tries;
  int64_t not_before_ns;
  bool checked, whole;  /* the answer's head was looked at; it sends the whole file */
  char error[CURL_ERROR_SIZE];
  etk_status status;    /* of writing */
  char why[ETK_ERROR_SIZE];
};
struct fetching {
  const struct etk__curl *c;
  const struct etk__fetch_options *options;
  struct file *files;
  size_t count;
  struct transfer *transfers;
  int connections;
  CURLM *multi;
  struct curl_slist *headers;
  int64_t done, fetched;
};

static int64_t part_size(const struct file *f, int64_t part) {
  int64_t begin = part * f->part_bytes;
  return f->item->bytes - begin < f->part_bytes ? f->item->bytes - begin : f->part_bytes;
}

/* The note beside a partial file: "etk-parts 1 <bytes> <part bytes>\n", then a line for each part that is whole. Anything else begins anew. */
static etk_status read_parts(etk_error *e, struct file *f) {
  char *text = NULL, head[80], *path = NULL;
  size_t size = 0;
  int length = snprintf(head, sizeof head, "etk-parts 1 %lld %lld\n", (long long)f->item->bytes, (long long)f->part_bytes);
  etk_text name = ETK_TEXT_INIT;
  etk_text_printf(&name, "%s.parts", f->item->path);
  path = etk_text_take(&name);
  if (!path) return etk_fail_memory(e);
  f->parts_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  etk_status status = f->parts_fd < 0 ? etk_fail_errno(e, errno, "%s", path) : etk_fs_read(e, &text, &size, path, (size_t)64 << 20);
  struct stat info;
  bool known = !status && size > (size_t)length && !memcmp(text, head, (size_t)length) && fstat(f->fd, &info) == 0 && info.st_size == f->item->bytes;
  for (char *at = known ? text + length : NULL; at && *at;) {
    char *end = NULL;
    long long part = strtoll(at, &end, 10);
    if (end == at || *end != '\n' || part < 0 || part >= f->parts) break; /* a line cut by a crash */
    if (f->states[part] != PART_DONE) f->left--;
    f->states[part] = PART_DONE;
    at = end + 1;
  }
  if (!status && !known && (ftruncate(f->parts_fd, 0) != 0 || pwrite(f->parts_fd, head, (size_t)length, 0) != length)) status = etk_fail_errno(e, errno, "%s", path);
  if (!status && lseek(f->parts_fd, 0, SEEK_END) < 0) status = etk_fail_errno(e, errno, "%s", path);
  etk_free(text);
  etk_free(path);
  return status;
}

static etk_status open_file(etk_error *e, struct file *f, const struct etk__fetch_item *item, int64_t part_bytes) {
  *f = (struct file){.item = item, .fd = -1, .parts_fd = -1, .part_bytes = part_bytes};
  f->parts = f->left = item->bytes ? (item->bytes + part_bytes - 1) / part_bytes : 0;
  f->states = etk_calloc((size_t)f->parts + 1, 1);
  f->fd = f->states ? open(item->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666) : -1;
  if (!f->states) return etk_fail_memory(e);
  if (f->fd < 0) return etk_fail_errno(e, errno, "%s", item->path);
  etk_status status = read_parts(e, f);
  if (!status && ftruncate(f->fd, item->bytes) != 0) status = etk_fail_errno(e, errno, "%s", item->path);
  for (int64_t i = 0; i < f->parts; i++) f->ranges |= f->states[i] == PART_DONE && f->parts > 1;
  return status;
}

static void close_file(struct file *f) {
  if (f->fd >= 0) close(f->fd);
  if (f->parts_fd >= 0) close(f->parts_fd);
  etk_free(f->states);
}

/* ---- one answer ---- */
static bool refuse(struct transfer *t, etk_status status, const char *why) {
  t->status = status;
  snprintf(t->why, sizeof t->why, "%s", why);
  return false;
}

/* 206 with the range that was asked for, or 200 with the whole file, which only a transfer from the beginning can use. */
static bool check_head(struct transfer *t) {
  const struct etk__curl *c = t->all->c;
  long answer = 0;
  c->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &answer);
  t->checked = true;
  if (answer == 206) return t->file->ranges = true;
  if (answer != 200) return false; /* an error's page: told when the transfer ends */
  if (t->at != 0 && t->file->item->bytes) {
    t->whole = true; /* asked for again from the beginning */
    return false;
  }
  t->whole = true;
  t->end = t->file->item->bytes;
  return true;
}

static size_t write_part(char *bytes, size_t one, size_t count, void *user) {
  struct transfer *t = user;
  (void)one;
  if (!t->checked && !check_head(t)) return 0;
  if ((int64_t)count > t->end - t->at) {
    refuse(t, ETK_E_FORMAT, "the server sends more than it said");
    return 0;
  }
  size_t wrote = 0;
  while (wrote < count) {
    int injected = etk_fs_step("write");
    ssize_t n = injected ? -1 : pwrite(t->file->fd, bytes + wrote, count - wrote, (off_t)(t->at + (int64_t)wrote));
    if (n < 0 && !injected && errno == EINTR) continue;
    if (n <= 0) {
      etk_error why = ETK_ERROR_INIT;
      etk_fail_errno(&why, injected ? injected : errno, "%s", t->file->item->path);
      refuse(t, why.status, why.message);
      return 0;
    }
    wrote += (size_t)n;
  }
  t->at += (int64_t)count;
  t->all->done += (int64_t)count;
  t->all->fetched += (int64_t)count;
  t->tries = 0;
  return count;
}

/* Content-Range names another size: the file is not the one that the list told of. */
static size_t look_at_head(char *line, size_t one, size_t count, void *user) {
  struct transfer *t = user;
  size_t size = one * count;
  char text[200];
  snprintf(text, sizeof text, "%.*s", (int)(size < sizeof text ? size : sizeof text - 1), line);
  if (strncasecmp(text, "content-range:", 14)) return size;
  const char *slash = strchr(text, '/'), *dash = text + 14 + strspn(text + 14, " ");
  long long total = slash && slash[1] != '*' ? strtoll(slash + 1, NULL, 10) : t->file->item->bytes;
  long long from = strncasecmp(dash, "bytes ", 6) ? -1 : strtoll(dash + 6, NULL, 10);
  if (total != t->file->item->bytes || from != t->at) {
    snprintf(t->why, sizeof t->why, "the server has %lld bytes from %lld on, wanted %lld from %lld on", total, from, (long long)t->file->item->bytes, (long long)t->at);
    t->status = ETK_E_FORMAT;
    return 0;
  }
  return size;
}

static void start(struct transfer *t) {
  const struct etk__curl *c = t->all->c;
  char range[64];
  t->checked = t->whole = false;
  c->easy_reset(t->easy);
  etk__curl_prepare(c, t->easy, t->file->item->url, t->all->headers, t->error);
  snprintf(range, sizeof range, "%lld-%lld", (long long)t->at, (long long)t->end - 1);
  c->easy_setopt(t->easy, CURLOPT_RANGE, range);
  c->easy_setopt(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* a connection for each, not one that all share */
  c->easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, write_part);
  c->easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
  c->easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, look_at_head);
  c->easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
  c->easy_setopt(t->easy, CURLOPT_PRIVATE, t);
  t->not_before_ns = 0;
  c->multi_add_handle(t->all->multi, t->easy);
}

/* The next part to fetch: of a file whose server has not shown yet that it knows ranges, the first alone. */
static bool give_part(struct fetching *all, struct transfer *t) {
  for (size_t i = 0; i < all->count; i++) {
    struct file *f = &all->files[i];
    bool running = false;
    for (int64_t p = 0; p < f->parts && f->left && (f->ranges || !running); p++) {
      running |= f->states[p] == PART_RUNNING;
      if (f->states[p] != PART_OPEN || (running && !f->ranges)) continue;
      f->states[p] = PART_RUNNING;
      t->file = f;
      t->part = p;
      t->begin = t->at = p * f->part_bytes;
      t->end = t->begin + part_size(f, p);
      t->tries = 0;
      t->status = ETK_OK;
      return true;
    }
  }
  return false;
}

static etk_status note_part(etk_error *e, struct file *f, int64_t part) {
  char line[32];
  int size = snprintf(line, sizeof line, "%lld\n", (long long)part);
  f->states[part] = PART_DONE;
  f->left--;
  return write(f->parts_fd, line, (size_t)size) == size ? ETK_OK : etk_fail_errno(e, errno, "%s.parts", f->item->path);
}

static etk_status finish_part(etk_error *e, struct transfer *t) {
  struct file *f = t->file;
  etk_status status = ETK_OK;
  int64_t first = t->whole ? 0 : t->part, last = t->whole ? f->parts - 1 : t->part;
  for (int64_t p = first; p <= last && !status; p++)
    if (f->states[p] != PART_DONE) status = note_part(e, f, p);
  t->file = NULL;
  return status;
}

/* A transfer has ended: its part is whole, is asked for again, or all fails. */
static etk_status settle(etk_error *e, struct transfer *t, CURLcode code) {
  struct fetching *all = t->all;
  const struct etk__fetch_item *item = t->file->item;
  long answer = 0;
  all->c->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &answer);
  if (t->status) return t->status == ETK_E_FORMAT ? etk_fail(e, ETK_E_FORMAT, "%s: %s (%s)", item->name, t->why, item->url) : etk_fail(e, t->status, "%s", t->why);
  if (code == CURLE_OK && (answer == 206 || answer == 200) && t->at == t->end) return finish_part(e, t);
  if (t->whole) { /* no ranges: what was cut off has to begin anew */
    all->done -= t->at - t->begin;
    t->at = t->begin = 0;
    t->end = item->bytes;
  }
  bool again = etk__curl_passing(code, answer) || (code == CURLE_OK && (answer == 200 || answer == 206)) || (code == CURLE_WRITE_ERROR && t->whole);
  if (!again || ++t->tries >= TRIES) {
    if (code == CURLE_OK && (answer == 200 || answer == 206)) return etk_fail(e, ETK_E_IO, "%s: the server ends after %lld of %lld bytes (%s)", item->name, (long long)t->at, (long long)item->bytes, item->url);
    return etk__curl_fail(e, all->c, code == CURLE_WRITE_ERROR && answer >= 400 ? CURLE_OK : code, answer, t->error, item->name, item->url);
  }
  t->not_before_ns = etk_time_ns() + pause_ns(all->c, t->easy, t->tries - 1);
  return ETK_OK;
}

static etk_status turn(etk_error *e, struct fetching *all, bool *busy) {
  int64_t now = etk_time_ns();
  const char *name = "";
  *busy = false;
  for (int i = 0; i < all->connections; i++) {
    struct transfer *t = &all->transfers[i];
    if (!t->file && give_part(all, t)) start(t);
    else if (t->file && t->not_before_ns && now >= t->not_before_ns) start(t);
    *busy |= t->file != NULL;
    if (t->file && !*name) name = t->file->item->name;
  }
  int running = 0, left = 0;
  all->c->multi_perform(all->multi, &running);
  CURLMsg *message;
  etk_status status = ETK_OK;
  while ((message = all->c->multi_info_read(all->multi, &left))) {
    if (message->msg != CURLMSG_DONE) continue;
    char *owner = NULL;
    CURLcode code = message->data.result;
    CURL *easy = message->easy_handle;
    all->c->easy_getinfo(easy, CURLINFO_PRIVATE, &owner);
    struct transfer *t = (void *)owner;
    if (code == CURLE_WRITE_ERROR && t->checked && !t->whole && !t->status) code = CURLE_OK; /* an error's page, not taken */
    if (!status) status = settle(e, t, code);
    all->c->multi_remove_handle(all->multi, easy);
  }
  int64_t done = all->options->done_before + all->done;
  if (done > all->options->total) done = all->options->total; /* what was sent twice */
  if (!status && all->options->progress && !all->options->progress(all->options->user, done, all->options->total, name))
    status = etk_fail(e, ETK_E_CANCELLED, "the download was stopped; the next one goes on where it is");
  if (!status && *busy) all->c->multi_poll(all->multi, NULL, 0, POLL_MS, NULL);
  return status;
}

static etk_status run(etk_error *e, struct fetching *all) {
  const struct etk__curl *c = all->c;
  all->multi = c->multi_init();
  all->headers = headers_for(c, all->options->bearer);
  if (!all->multi || (all->options->bearer && !all->headers)) return etk_fail_memory(e);
  for (int i = 0; i < all->connections; i++) {
    all->transfers[i].all = all;
    if (!(all->transfers[i].easy = c->easy_init())) return etk_fail_memory(e);
  }
  etk_status status = ETK_OK;
  for (bool busy = true; busy && !status;) status = turn(e, all, &busy);
  return status;
}

etk_status etk__fetch_files(etk_error *e, const struct etk__fetch_item *items, size_t count, const struct etk__fetch_options *options, int64_t *fetched) {
  *fetched = 0;
  if (!count) return ETK_OK;
  struct fetching all = {.c = etk__curl_open(e), .options = options, .connections = options->connections > 0 ? options->connections : 4};
  if (!all.c) return e ? e->status : ETK_E_UNAVAILABLE;
  if (all.connections > CONNECTIONS_MOST) all.connections = CONNECTIONS_MOST;
  all.files = etk_calloc(count, sizeof *all.files);
  all.transfers = etk_calloc((size_t)all.connections, sizeof *all.transfers);
  etk_status status = all.files && all.transfers ? ETK_OK : etk_fail_memory(e);
  for (size_t i = 0; i < count && !status; i++) {
    status = open_file(e, &all.files[i], &items[i], options->part_bytes ? options->part_bytes : part_default);
    all.count++;
    for (int64_t p = 0; p < all.files[i].parts && !status; p++)
      if (all.files[i].states[p] == PART_DONE) all.done += part_size(&all.files[i], p);
  }
  if (!status) status = run(e, &all);
  for (int i = 0; i < all.connections && all.transfers; i++)
    if (all.transfers[i].easy) {
      if (all.multi) all.c->multi_remove_handle(all.multi, all.transfers[i].easy);
      all.c->easy_cleanup(all.transfers[i].easy);
    }
  if (all.multi) all.c->multi_cleanup(all.multi);
  all.c->slist_free_all(all.headers);
  for (size_t i = 0; i < all.count; i++) close_file(&all.files[i]);
  etk_free(all.files);
  etk_free(all.transfers);
  *fetched = all.fetched;
  return status;
}

/* archive_open.c: an archive's bytes, unpacked, counted and checked to their end. */
#include "archive_internal.h"
#include "etk/text.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 17, END_OF_TAR = 1024 };
typedef enum kind { TAR, GZIP, ZSTD, ZIP } kind;

struct etk__archive_in {
  etk_error *e;
  const char *path;
  int fd;
  kind kind;
  int64_t packed, entries, files; /* bytes of the archive; entries seen; bytes of files handed out */
  struct {
    int64_t entries, bytes, ratio;
  } limit;
  etk_status failed; /* said in e already */
  struct archive *reader, *unzstd;
  z_stream zlib;
  bool zlib_open, member_ended, input_ended;
  int64_t unpacked, last_nonzero; /* bytes of the tar so far; the offset behind the last that is not 0 */
  unsigned char in[CHUNK], out[CHUNK];
};

/* ---- the locale ---- */

etk_status etk__archive_locale_begin(etk_error *e, etk__archive_locale *locale) {
  static const char *const names[] = {"C.UTF-8", "en_US.UTF-8", "UTF-8"};
  *locale = (etk__archive_locale){(locale_t)0, (locale_t)0};
  for (size_t i = 0; i < sizeof names / sizeof names[0] && !locale->ours; i++) {
    errno = 0;
    locale->ours = newlocale(LC_CTYPE_MASK, names[i], (locale_t)0);
    if (!locale->ours && errno == ENOMEM) return etk_fail_memory(e);
  }
  if (locale->ours) locale->before = uselocale(locale->ours); /* without one, names beyond ASCII go by the user's */
  return ETK_OK;
}

void etk__archive_locale_end(etk__archive_locale *locale) {
  if (!locale->ours) return;
  uselocale(locale->before);
  freelocale(locale->ours);
  locale->ours = (locale_t)0;
}

/* ---- messages ---- */

const char *etk__archive_shown(char out[204], const char *name) {
  size_t n = 0;
  for (; name[n] && n < 200; n++) out[n] = (unsigned char)name[n] < 0x20 || name[n] == 0x7F ? '?' : name[n];
  if (name[n]) { /* cut on a character's edge */
    while (n > 0 && ((unsigned char)name[n] & 0xC0) == 0x80) n--;
    memcpy(out + n, "\xE2\x80\xA6", 4);
  } else {
    out[n] = 0;
  }
  return out;
}

static etk_status damaged(etk__archive_in *in, const char *why) {
  return in->failed = etk_fail(in->e, ETK_E_FORMAT, "'%s' is damaged or cut short: %s", in->path, why);
}

static etk_status by_libarchive(etk__archive_in *in, struct archive *archive) {
  if (in->failed) return in->failed;
  const char *why = archive_error_string(archive);
  if (archive_errno(archive) == ENOMEM) return in->failed = etk_fail(in->e, ETK_E_NO_MEMORY, "cannot read '%s': out of memory", in->path);
  return damaged(in, why ? why : "libarchive gives no reason");
}

/* ---- limits ---- */

static etk_status check_ratio(etk__archive_in *in) {
  int64_t out = in->files > in->unpacked ? in->files : in->unpacked, free_of_it = 1 << 20;
  if (out <= free_of_it || (out - free_of_it) / in->limit.ratio <= in->packed) return ETK_OK;
  return in->failed = etk_fail(in->e, ETK_E_UNSUPPORTED,
                               "'%s' has %lld bytes and unpacks to more than %lld times as many, which only a bomb does; raise the limit (ratio) if you trust it",
                               in->path, (long long)in->packed, (long long)in->limit.ratio);
}

etk_status etk__archive_allows(etk__archive_in *in, int64_t bytes) {
  if (bytes < 0) return damaged(in, "an entry has a negative size");
  if (bytes <= in->limit.bytes - in->files) return ETK_OK;
  return in->failed = etk_fail(in->e, ETK_E_UNSUPPORTED, "'%s' unpacks to more than the %lld bytes that are allowed; raise the limit (bytes) if you trust it",
                               in->path, (long long)in->limit.bytes);
}

static void read_limits(etk__archive_in *in, const etk_archive_limits *limits) {
  etk_archive_limits given = {0};
  size_t size = limits ? limits->struct_size : 0;
  if (size) memcpy(&given, limits, size < sizeof given ? size : sizeof given);
  in->limit.entries = given.entries > 0 ? given.entries : 1000000;
  in->limit.bytes = given.bytes > 0 ? given.bytes : (int64_t)64 << 30;
  in->limit.ratio = given.ratio > 0 ? given.ratio : 1000;
}

/* ---- unpacking ---- */

static ssize_t read_some(etk__archive_in *in, void *bytes, size_t size) {
  ssize_t n;
  do n = read(in->fd, bytes, size);
  while (n < 0 && errno == EINTR);
  if (n < 0) in->failed = etk_fail_errno(in->e, errno, "cannot read '%s'", in->path);
  return n;
}

/* -1: failed. A gzip file may have several members; zeros behind the last are padding. */
static ssize_t gunzip(etk__archive_in *in) {
  z_stream *z = &in->zlib;
  z->next_out = in->out;
  z->avail_out = CHUNK;
  while (z->avail_out == CHUNK) {
    if (z->avail_in == 0 && !in->input_ended) {
      ssize_t n = read_some(in, in->in, CHUNK);
      if (n < 0) return -1;
      in->input_ended = n == 0;
      z->next_in = in->in;
      z->avail_in = (unsigned)n;
    }
    if (in->member_ended) {
      while (z->avail_in > 0 && *z->next_in == 0) z->next_in++, z->avail_in--;
      if (z->avail_in == 0 && in->input_ended) return 0;
      if (z->avail_in == 0) continue;
      in->member_ended = false;
      inflateReset(z);
    }
    if (z->avail_in == 0) return (void)damaged(in, "the gzip data ends early"), -1;
    int result = inflate(z, Z_NO_FLUSH);
    if (result == Z_STREAM_END) in->member_ended = true;
    else if (result == Z_MEM_ERROR) return in->failed = etk_fail(in->e, ETK_E_NO_MEMORY, "cannot read '%s': out of memory", in->path), -1;
    else if (result != Z_OK && result != Z_BUF_ERROR) return (void)damaged(in, z->msg ? z->msg : "bad gzip data"), -1;
  }
  return (ssize_t)(CHUNK - z->avail_out);
}

static ssize_t unpack(etk__archive_in *in) {
  if (in->kind == TAR) return read_some(in, in->out, CHUNK);
  if (in->kind == GZIP) return gunzip(in);
  ssize_t n = archive_read_data(in->unzstd, in->out, CHUNK);
  if (n < 0) by_libarchive(in, in->unzstd);
  return n < 0 ? -1 : n;
}

static la_ssize_t next_bytes(struct archive *archive, void *user, const void **bytes) {
  etk__archive_in *in = user;
  ssize_t n = in->failed ? -1 : unpack(in);
  if (n > 0) {
    ssize_t last = n;
    while (last > 0 && in->out[last - 1] == 0) last--;
    if (last > 0) in->last_nonzero = in->unpacked + last;
    in->unpacked += n;
    if (check_ratio(in)) n = -1;
  }
  if (n < 0) archive_set_error(archive, EIO, "%s", "stopped");
  *bytes = in->out;
  return n;
}

static etk_status open_zstd(etk__archive_in *in) {
  struct archive_entry *entry;
  if (!archive_libzstd_version()) return etk_fail(in->e, ETK_E_UNAVAILABLE, "'%s' is zstd, which this libarchive was built without", in->path);
  struct archive *a = in->unzstd = archive_read_new();
  if (!a) return etk_fail_memory(in->e);
  if (archive_read_support_filter_zstd(a) != ARCHIVE_OK || archive_read_support_format_raw(a) != ARCHIVE_OK || archive_read_open_fd(a, in->fd, CHUNK) != ARCHIVE_OK ||
      archive_read_next_header(a, &entry) != ARCHIVE_OK)
    return by_libarchive(in, a);
  return ETK_OK;
}

static etk_status open_reader(etk__archive_in *in) {
  if (in->kind == GZIP) {
    if (inflateInit2(&in->zlib, 15 + 16) != Z_OK) return etk_fail_memory(in->e);
    in->zlib_open = true;
  }
  etk_status status = in->kind == ZSTD ? open_zstd(in) : ETK_OK;
  if (status) return status;
  struct archive *a = in->reader = archive_read_new();
  if (!a) return etk_fail_memory(in->e);
  int result = in->kind == ZIP ? archive_read_support_format_zip_seekable(a) : archive_read_support_format_tar(a);
  if (result == ARCHIVE_OK) result = in->kind == ZIP ? archive_read_open_fd(a, in->fd, CHUNK) : archive_read_open(a, in, NULL, next_bytes, NULL);
  return result == ARCHIVE_OK ? ETK_OK : by_libarchive(in, a);
}

static etk_status find_kind(etk__archive_in *in) {
  unsigned char head[4] = {0};
  ssize_t n;
  do n = pread(in->fd, head, sizeof head, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0) return etk_fail_errno(in->e, errno, "cannot read '%s'", in->path);
  if (head[0] == 0x1F && head[1] == 0x8B) in->kind = GZIP;                                               /* RFC 1952, 2.3.1 */
  else if (memcmp(head, "\x28\xB5\x2F\xFD", 4) == 0) in->kind = ZSTD;                                    /* RFC 8878, 3.1.1 */
  else if (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0) in->kind = ZIP;             /* APPNOTE 4.3.7, 4.3.16 */
  else in->kind = TAR;
  return ETK_OK;
}

etk_status etk__archive_open(etk_error *e, etk__archive_in **out, const char *path, const etk_archive_limits *limits) {
  etk__archive_in *in = etk_calloc(1, sizeof *in);
  if (!in) return etk_fail(e, ETK_E_NO_MEMORY, "cannot read '%s': out of memory", path);
  in->e = e;
  in->path = path;
  in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  read_limits(in, limits);
  struct stat info;
  etk_status status = ETK_OK;
  if (in->fd < 0 || fstat(in->fd, &info) != 0) status = etk_fail_errno(e, errno, "cannot open '%s'", path);
  else if (!S_ISREG(info.st_mode)) status = etk_fail(e, ETK_E_INVALID, "'%s' is not a regular file; an archive is wanted", path);
  else in->packed = info.st_size;
  if (!status) status = find_kind(in);
  if (!status) status = open_reader(in);
  if (status) {
    etk__archive_close(in);
    return status;
  }
  *out = in;
  return ETK_OK;
}

void etk__archive_close(etk__archive_in *in) {
  if (!in) return;
  if (in->reader) archive_read_free(in->reader);
  if (in->unzstd) archive_read_free(in->unzstd);
  if (in->zlib_open) inflateEnd(&in->zlib);
  if (in->fd >= 0) close(in->fd);
  etk_free(in);
}

/* POSIX: two blocks of zeros end a tar. libarchive takes the end of the bytes for one, too, and does not look at what follows. */
static etk_status check_end(etk__archive_in *in) {
  if (in->kind == ZIP) return ETK_OK;
  int64_t end = archive_read_header_position(in->reader);
  const void *bytes;
  la_ssize_t n;
  do n = next_bytes(in->reader, in, &bytes);
  while (n > 0);
  if (n < 0) return in->failed;
  if (in->unpacked < end + END_OF_TAR) return damaged(in, "the two blocks of zeros that end a tar are missing");
  if (in->last_nonzero > end) return damaged(in, "bytes follow the end of the tar");
  return ETK_OK;
}

etk_status etk__archive_next(etk__archive_in *in, struct archive_entry **out) {
  *out = NULL;
  int result = archive_read_next_header(in->reader, out);
  if (result == ARCHIVE_EOF) {
    *out = NULL;
    return in->failed ? in->failed : check_end(in);
  }
  if (in->failed || (result != ARCHIVE_OK && result != ARCHIVE_WARN)) return by_libarchive(in, in->reader); /* a warning: what we ask for is checked itself */
  if (++in->entries > in->limit.entries)
    return in->failed = etk_fail(in->e, ETK_E_UNSUPPORTED, "'%s' has more than the %lld entries that are allowed; raise the limit (entries) if you trust it", in->path,
                                 (long long)in->limit.entries);
  return ETK_OK;
}

etk_status etk__archive_data(etk__archive_in *in, void *bytes, size_t size, size_t *got) {
  la_ssize_t n = archive_read_data(in->reader, bytes, size); /* ARCHIVE_RETRY is an error, too: of a bad sparse map it is the answer for ever */
  if (n < 0 || in->failed) return by_libarchive(in, in->reader);
  etk_status status = etk__archive_allows(in, n);
  if (status) return status;
  in->files += n;
  *got = (size_t)n;
  return check_ratio(in);
}

const char *etk__archive_name(struct archive_entry *entry) {
  const char *name = archive_entry_pathname(entry);
  return name ? name : archive_entry_pathname_utf8(entry);
}

const char *etk__archive_target(struct archive_entry *entry, bool hard) {
  const char *target = hard ? archive_entry_hardlink(entry) : archive_entry_symlink(entry);
  return target ? target : hard ? archive_entry_hardlink_utf8(entry) : archive_entry_symlink_utf8(entry);
}

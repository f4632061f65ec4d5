/* status.c: messages are built in the caller's struct and on the stack, so that an error can be told when memory is gone. */
#include "etk/status.h"
#include <errno.h>
#include <stdarg.h>

static const struct {
  const char *name;
  int exit_code;
} statuses[] = {
    [ETK_OK] = {"ok", 0},
    [ETK_E_USAGE] = {"usage error", 2},
    [ETK_E_INVALID] = {"invalid value", 1},
    [ETK_E_NOT_FOUND] = {"not found", 1},
    [ETK_E_EXISTS] = {"already exists", 1},
    [ETK_E_FORMAT] = {"malformed data", 1},
    [ETK_E_UNSUPPORTED] = {"unsupported", 1},
    [ETK_E_SHAPE] = {"wrong shape", 1},
    [ETK_E_IO] = {"input/output error", 1},
    [ETK_E_NO_SPACE] = {"no space left", 1},
    [ETK_E_PERMISSION] = {"permission denied", 1},
    [ETK_E_NO_MEMORY] = {"out of memory", 1},
    [ETK_E_CANCELLED] = {"cancelled", 130},
    [ETK_E_UNAVAILABLE] = {"unavailable", 3},
    [ETK_E_CHECK] = {"check failed", 4},
    [ETK_E_INTERNAL] = {"internal error", 1},
};
enum { STATUS_COUNT = (int)(sizeof statuses / sizeof statuses[0]) };

static const struct {
  int errno_value;
  etk_status status;
} errnos[] = {
    {ENOENT, ETK_E_NOT_FOUND},     {ENOTDIR, ETK_E_NOT_FOUND}, {EEXIST, ETK_E_EXISTS},      {ENOTEMPTY, ETK_E_EXISTS},
    {ENOSPC, ETK_E_NO_SPACE},      {EFBIG, ETK_E_NO_SPACE},    {EDQUOT, ETK_E_NO_SPACE},    {EACCES, ETK_E_PERMISSION},
    {EPERM, ETK_E_PERMISSION},     {EROFS, ETK_E_PERMISSION},  {ENOMEM, ETK_E_NO_MEMORY},   {EINVAL, ETK_E_INVALID},
    {ENAMETOOLONG, ETK_E_INVALID}, {ELOOP, ETK_E_INVALID},     {EISDIR, ETK_E_INVALID},     {ECANCELED, ETK_E_CANCELLED},
    {ENODEV, ETK_E_UNAVAILABLE},   {ENXIO, ETK_E_UNAVAILABLE}, {ENOSYS, ETK_E_UNSUPPORTED}, {ENOTSUP, ETK_E_UNSUPPORTED},
};

/* Ends text that filled its buffer with "…" after the last whole character. */
static void cut(char *text, size_t size) {
  size_t end = size - 4;
  while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80) end--;
  memcpy(text + end, "\xE2\x80\xA6", 4);
}

/* `used` bytes of out (ETK_ERROR_SIZE) are already text. */
static size_t append(char *out, size_t used, const char *format, va_list arguments) {
  if (used >= ETK_ERROR_SIZE - 1) return used;
  int n = vsnprintf(out + used, ETK_ERROR_SIZE - used, format, arguments);
  if (n < 0) { /* a character the C library could not convert: keep the format, it still names the thing */
    n = snprintf(out + used, ETK_ERROR_SIZE - used, "%s", format);
  }
  if ((size_t)n < ETK_ERROR_SIZE - used) return used + (size_t)n;
  cut(out, ETK_ERROR_SIZE);
  return strlen(out);
}

static size_t append_text(char *out, size_t used, const char *text) {
  size_t n = strlen(text), room = ETK_ERROR_SIZE - 1 - used;
  memcpy(out + used, text, n < room ? n : room);
  if (n <= room) {
    out[used + n] = 0;
    return used + n;
  }
  out[ETK_ERROR_SIZE - 1] = 0;
  cut(out, ETK_ERROR_SIZE);
  return strlen(out);
}

/* The message is built apart because the arguments may point into e->message. */
static void store(etk_error *e, etk_status status, char *built) {
  size_t n = strlen(built);
  while (n > 0 && built[n - 1] == '\n') built[--n] = 0;
  e->status = status;
  memcpy(e->message, built, n + 1);
}

etk_status etk_fail(etk_error *e, etk_status status, const char *format, ...) {
  if (!e) return status;
  char built[ETK_ERROR_SIZE];
  built[0] = 0;
  va_list arguments;
  va_start(arguments, format);
  append(built, 0, format, arguments);
  va_end(arguments);
  store(e, status, built);
  return status;
}

static const char *errno_text(int errno_value, char *buffer, size_t size) {
#if defined(__GLIBC__)
  return strerror_r(errno_value, buffer, size);
#else
  if (strerror_r(errno_value, buffer, size) != 0) snprintf(buffer, size, "system error %d", errno_value);
  return buffer;
#endif
}

etk_status etk_fail_memory(etk_error *e) { return etk_fail(e, ETK_E_NO_MEMORY, "out of memory"); }

etk_status etk_fail_errno(etk_error *e, int errno_value, const char *format, ...) {
  etk_status status = ETK_E_IO;
  for (size_t i = 0; i < sizeof errnos / sizeof errnos[0]; i++) {
    if (errnos[i].errno_value == errno_value) {
      status = errnos[i].status;
      break;
    }
  }
  if (!e) return status;
  char built[ETK_ERROR_SIZE], reason[128];
  built[0] = 0;
  va_list arguments;
  va_start(arguments, format);
  size_t used = append(built, 0, format, arguments);
  va_end(arguments);
  used = append_text(built, used, ": ");
  append_text(built, used, errno_text(errno_value, reason, sizeof reason));
  store(e, status, built);
  return status;
}

etk_status etk_error_while(etk_error *e, etk_status status, const char *format, ...) {
  if (!e) return status;
  if (e->status == ETK_OK) e->status = status;
  char built[ETK_ERROR_SIZE];
  built[0] = 0;
  va_list arguments;
  va_start(arguments, format);
  size_t used = append(built, 0, format, arguments);
  va_end(arguments);
  if (e->message[0]) {
    used = append_text(built, used, ": ");
    append_text(built, used, e->message);
  }
  store(e, e->status, built);
  return e->status;
}

void etk_error_clear(etk_error *e) {
  if (!e) return;
  e->status = ETK_OK;
  e->message[0] = 0;
}

const char *etk_status_name(etk_status status) { return status >= 0 && status < STATUS_COUNT ? statuses[status].name : "unknown status"; }

int etk_status_exit_code(etk_status status) { return status >= 0 && status < STATUS_COUNT ? statuses[status].exit_code : 1; }

/* etk/status.h: how every fallible call reports.
 *
 * A function that can fail returns etk_status and takes an etk_error * as its first parameter (NULL: the caller wants only the code).
 * The message names the thing, the value seen, the value wanted and what to try; outer layers prepend "while …: ".
 * An etk_error is the caller's, holds no pointer, needs no clean-up, and is used by one thread at a time. */
#ifndef ETK_STATUS_H
#define ETK_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ETK_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define ETK_PRINTF(format_index, first)
#endif

typedef int etk_status; /* one of the codes below; part of the ABI, so values never change */
enum {
  ETK_OK = 0,
  ETK_E_USAGE = 1,       /* the user's words are off: exit code 2 */
  ETK_E_INVALID = 2,     /* a value that cannot be right */
  ETK_E_NOT_FOUND = 3,   /* a file, name or key that is not there */
  ETK_E_EXISTS = 4,      /* would overwrite */
  ETK_E_FORMAT = 5,      /* bytes that are not what they claim to be */
  ETK_E_UNSUPPORTED = 6, /* legal input that this version does not handle */
  ETK_E_SHAPE = 7,       /* a tensor of the wrong shape or type */
  ETK_E_IO = 8,          /* the system failed a read or a write */
  ETK_E_NO_SPACE = 9,    /* disk full or a file size limit */
  ETK_E_PERMISSION = 10,
  ETK_E_NO_MEMORY = 11,
  ETK_E_CANCELLED = 12,   /* Ctrl-C: exit code 130 */
  ETK_E_UNAVAILABLE = 13, /* a device or optional dependency is missing: exit code 3 */
  ETK_E_CHECK = 14,       /* a check or test came out negative: exit code 4 */
  ETK_E_INTERNAL = 15     /* a bug of ours */
};

#define ETK_ERROR_SIZE 2048
typedef struct etk_error {
  etk_status status;
  char message[ETK_ERROR_SIZE]; /* UTF-8, no trailing newline, cut (with "…") if longer */
} etk_error;
#define ETK_ERROR_INIT {0, {0}}

/* Sets the message and returns `status`, so that `return etk_fail(e, ETK_E_FORMAT, …)` reads as one thought. e may be NULL. */
etk_status etk_fail(etk_error *e, etk_status status, const char *format, ...) ETK_PRINTF(3, 4);
etk_status etk_fail_memory(etk_error *e); /* ETK_E_NO_MEMORY, "out of memory" */
/* The same with errno's text appended; picks the status from errno (ENOENT, ENOSPC, EACCES, …). */
etk_status etk_fail_errno(etk_error *e, int errno_value, const char *format, ...) ETK_PRINTF(3, 4);
/* Prepends "<text>: " to a message that is already set; returns e's status, or `status` where e is NULL. */
etk_status etk_error_while(etk_error *e, etk_status status, const char *format, ...) ETK_PRINTF(3, 4);
void etk_error_clear(etk_error *e);
/* "ok", "not found", … ; never NULL. */
const char *etk_status_name(etk_status status);
/* The process exit code of the design: 0, 1, 2, 3, 4 or 130. */
int etk_status_exit_code(etk_status status);

#ifdef __cplusplus
}
#endif
#endif

/* zip.h: the part of the ZIP format that torch.save and numpy.savez write, read in place (APPNOTE 6.3.10): the central directory rules, entries
 * are stored or deflated, above 4 GiB by zip64 (whose end record torch.save always writes). Refused: several disks, encryption, other methods,
 * two entries of one name, entries that overlap, names that leave the folder. */
#ifndef ETK_ML_FORMAT_ZIP_H
#define ETK_ML_FORMAT_ZIP_H

#include <etk/alloc.h>
#include <etk/status.h>

typedef struct etk__zip_entry {
  const char *name;
  uint64_t begin; /* of its local header in the file */
  uint64_t at;    /* of its data */
  uint64_t packed, size;
  uint32_t crc;
  bool deflated;
} etk__zip_entry;

typedef struct etk__zip {
  const char *file; /* for messages */
  const unsigned char *bytes;
  uint64_t size;
  etk__zip_entry *entries; /* as the directory lists them */
  const etk__zip_entry **by_name;
  size_t count;
} etk__zip;

/* Reads the directory; everything it makes lies in the arena, the entries' data in `bytes`. `what` names the kind of file in messages. */
etk_status etk__zip_open(etk_error *e, etk__zip *zip, etk_arena *arena, const char *file, const char *what, const void *bytes, size_t size);
const etk__zip_entry *etk__zip_find(const etk__zip *zip, const char *name);
/* Reads all of the entry and compares size and CRC-32. */
etk_status etk__zip_check(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry);
/* The first bytes of an entry, at most `limit`; *got of them. */
etk_status etk__zip_head(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry, unsigned char *out, size_t limit, size_t *got);
/* The whole entry: stored ones are borrowed from the file (*owned NULL, not checked), deflated ones are checked before the memory for them
 * is taken (*owned: etk_free). */
etk_status etk__zip_data(etk_error *e, const etk__zip *zip, const etk__zip_entry *entry, const unsigned char **data, unsigned char **owned);

/* One entry of an archive to be written: head and then data, of which either may be empty. */
typedef struct etk__zip_piece {
  const char *name;
  const void *head, *data;
  size_t head_size, size;
  uint32_t crc;   /* set by the writer, and so is begin */
  uint64_t begin;
} etk__zip_piece;
/* Writes atomically, in the order given; the data of each entry, behind its head, on a multiple of 64 bytes. Below 4 GiB; `what` names the kind of
 * file in messages. */
etk_status etk__zip_write(etk_error *e, const char *path, const char *what, etk__zip_piece *pieces, size_t count, bool replace);

#endif

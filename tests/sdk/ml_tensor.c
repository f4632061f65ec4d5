/* Shapes, element types, tensors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <etk/alloc.h>
#include <etk/tensor.h>
#include <math.h>

static void shapes_count_compare_and_print(void **state) {
  (void)state;
  char text[64];
  etk_shape a = etk_shape_of(3, 2, 16, 64), b = etk_shape_of(3, 2, 16, 64), scalar = {.rank = 0}, empty = etk_shape_of(2, 0, 5);
  assert_int_equal(etk_shape_elements(&a), 2048);
  assert_int_equal(etk_shape_elements(&scalar), 1);
  assert_int_equal(etk_shape_elements(&empty), 0);
  assert_true(etk_shape_equal(&a, &b));
  b.dims[2] = 63;
  assert_false(etk_shape_equal(&a, &b));
  b.rank = 2;
  assert_false(etk_shape_equal(&a, &b));
  assert_string_equal(etk_shape_text(text, sizeof text, &a), "(2, 16, 64)");
  assert_string_equal(etk_shape_text(text, sizeof text, &scalar), "()");
  assert_string_equal(etk_shape_text(text, 6, &a), "(2, 1"); /* cut, never past the end */
}

static void impossible_shapes_have_no_element_count(void **state) {
  (void)state;
  assert_int_equal(etk_shape_elements(&etk_shape_of(2, 3, -1)), -1);
  assert_int_equal(etk_shape_elements(&etk_shape_of(3, INT64_C(1) << 31, INT64_C(1) << 31, 4)), -1);
  assert_int_equal(etk_shape_elements(&(etk_shape){.rank = 7}), -1);
  assert_int_equal(etk_shape_elements(&(etk_shape){.rank = -1}), -1);
  etk_error e = ETK_ERROR_INIT;
  etk_tensor *t = NULL;
  assert_int_equal(etk_tensor_new(&e, &t, ETK_F64, etk_shape_of(1, INT64_MAX / 4)), ETK_E_SHAPE);
  assert_null(t);
  assert_non_null(strstr(e.message, "(2305843009213693951) of rank 1 is not a possible shape"));
}

static void element_types_have_safetensors_names(void **state) {
  (void)state;
  static const size_t sizes[] = {4, 2, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1};
  static const char *const names[] = {"F32", "F16", "BF16", "F64", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL"};
  for (int i = 0; i < ETK_DTYPE_COUNT; i++) {
    etk_dtype parsed = ETK_DTYPE_COUNT;
    assert_int_equal(etk_dtype_size((etk_dtype)i), sizes[i]);
    assert_string_equal(etk_dtype_name((etk_dtype)i), names[i]);
    assert_true(etk_dtype_parse(&parsed, names[i]));
    assert_int_equal(parsed, i);
  }
  etk_dtype untouched = ETK_I8;
  assert_false(etk_dtype_parse(&untouched, "f32"));
  assert_int_equal(untouched, ETK_I8);
  assert_int_equal(etk_dtype_size(ETK_DTYPE_COUNT), 0);
}

static void new_tensors_are_zero_and_aligned(void **state) {
  (void)state;
  etk_tensor *t = NULL;
  assert_int_equal(etk_tensor_new(NULL, &t, ETK_I64, etk_shape_of(2, 3, 5)), ETK_OK);
  assert_int_equal((uintptr_t)etk_tensor_data(t) % 64, 0);
  for (int i = 0; i < 15; i++) assert_int_equal(((int64_t *)etk_tensor_data(t))[i], 0);
  assert_int_equal(etk_tensor_bytes(t), 120);
  assert_int_equal(etk_tensor_dim(t, -1), 5);
  assert_int_equal(etk_tensor_dim(t, 0), 3);
  assert_int_equal(etk_tensor_view(t).elements, 15);
  assert_false(etk_tensor_trainable(t));
  etk_tensor_unref(t);
  assert_int_equal(etk_tensor_new(NULL, &t, ETK_F32, etk_shape_of(1, 0)), ETK_OK);
  assert_non_null(etk_tensor_data(t));
  etk_tensor_unref(t);
  etk_tensor_unref(NULL);
}

static void count_release(void *owner) { ++*(int *)owner; }

static void wrapped_memory_is_released_with_the_last_reference(void **state) {
  (void)state;
  int released = 0;
  static const float values[] = {1, 2, 3};
  etk_tensor *t = NULL;
  assert_int_equal(etk_tensor_wrap(NULL, &t, ETK_F32, etk_shape_of(1, 3), values, count_release, &released), ETK_OK);
  assert_ptr_equal(etk_tensor_data(t), values);
  assert_ptr_equal(etk_tensor_ref(t), t);
  etk_tensor_unref(t);
  assert_int_equal(released, 0);
  etk_tensor_unref(t);
  assert_int_equal(released, 1);
  assert_int_equal(etk_tensor_wrap(NULL, &t, ETK_F32, etk_shape_of(1, 3), NULL, count_release, &released), ETK_E_INVALID);
  assert_int_equal(released, 1); /* what failed to wrap stays the caller's */
}

static void casts_round_once(void **state) {
  (void)state;
  /* Just above the middle of two halves by less than a float shows: through float it would round to even, down. */
  const double x[] = {1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11, 1 + 0x1p-8 + 0x1p-40, -1e300, 0x1p-25 + 0x1p-60, -0.0, 65519.999};
  uint16_t half[7], brain[7];
  float single[7];
  double back[7];
  assert_int_equal(etk_dtype_convert(NULL, half, ETK_F16, x, ETK_F64, 7), ETK_OK);
  assert_int_equal(etk_dtype_convert(NULL, brain, ETK_BF16, x, ETK_F64, 7), ETK_OK);
  assert_int_equal(etk_dtype_convert(NULL, single, ETK_F32, x, ETK_F64, 7), ETK_OK);
  const uint16_t wanted_half[] = {0x3c01, 0x3c00, 0x3c04, 0xfc00, 0x0001, 0x8000, 0x7bff}, wanted_brain[] = {0x3f80, 0x3f80, 0x3f81, 0xff80, 0x3300, 0x8000, 0x4780};
  assert_memory_equal(half, wanted_half, sizeof half);
  assert_memory_equal(brain, wanted_brain, sizeof brain);
  for (int i = 0; i < 7; i++) assert_true(single[i] == (float)x[i]);
  assert_int_equal(etk_dtype_convert(NULL, back, ETK_F64, half, ETK_F16, 7), ETK_OK);
  assert_true(back[0] == 1 + 0x1p-10 && isinf(back[3]) && back[4] == 0x1p-24 && signbit(back[5]));
}

static void every_half_survives_the_way_through_every_wider_type(void **state) {
  (void)state;
  static uint16_t all[65536], back[65536];
  static double wide[65536];
  for (int i = 0; i < 65536; i++) all[i] = (uint16_t)i;
  for (int format = ETK_F16; format <= ETK_BF16; format++)
    for (int through = 0; through < 2; through++) {
      etk_dtype middle = through ? ETK_F64 : ETK_F32;
      assert_int_equal(etk_dtype_convert(NULL, wide, middle, all, (etk_dtype)format, 65536), ETK_OK);
      assert_int_equal(etk_dtype_convert(NULL, back, (etk_dtype)format, wide, middle, 65536), ETK_OK);
      for (int i = 0; i < 65536; i++) {
        int infinity = format == ETK_F16 ? 0x7c00 : 0x7f80;
        if ((i & 0x7fff) > infinity) assert_true((back[i] & 0x7fff) > infinity); /* NaN stays NaN */
        else assert_int_equal(back[i], i);
      }
    }
}

static void values_at_odd_addresses_convert_alike(void **state) {
  (void)state;
  enum { COUNT = 1000 };
  static unsigned char moved[COUNT * 8 + 1];
  double wide[COUNT], stored[COUNT];
  float wanted[COUNT], got[COUNT];
  for (int i = 0; i < COUNT; i++) wide[i] = i * 0.37 - 100;
  for (etk_dtype from = ETK_F32; from <= ETK_F64; from++) {
    if (from == ETK_F32) continue; /* to itself: a copy */
    assert_int_equal(etk_dtype_convert(NULL, stored, from, wide, ETK_F64, COUNT), ETK_OK);
    memcpy(moved + 1, stored, COUNT * etk_dtype_size(from));
    assert_int_equal(etk_dtype_convert(NULL, wanted, ETK_F32, stored, from, COUNT), ETK_OK);
    assert_int_equal(etk_dtype_convert(NULL, got, ETK_F32, moved + 1, from, COUNT), ETK_OK);
    assert_memory_equal(got, wanted, sizeof wanted);
  }
}

static void integers_convert_only_to_themselves(void **state) {
  (void)state;
  etk_error e = ETK_ERROR_INIT;
  int32_t a = 7, b = 0;
  float x;
  assert_int_equal(etk_dtype_convert(&e, &b, ETK_I32, &a, ETK_I32, 1), ETK_OK);
  assert_int_equal(b, 7);
  assert_int_equal(etk_dtype_convert(&e, &x, ETK_F32, &a, ETK_I32, 1), ETK_E_UNSUPPORTED);
  assert_string_equal(e.message, "cannot convert I32 to F32: only F32, F16, BF16 and F64 convert");
}

static void failing_allocations_leave_nothing_behind(void **state) {
  (void)state;
  for (uint64_t nth = 1; nth <= 2; nth++) {
    etk_tensor *t = NULL;
    etk_error e = ETK_ERROR_INIT;
    etk_alloc_stats before = etk_alloc_get_stats();
    etk_alloc_fail_nth(nth, false);
    assert_int_equal(etk_tensor_new(&e, &t, ETK_F32, etk_shape_of(1, 8)), ETK_E_NO_MEMORY);
    etk_alloc_fail_nth(0, false);
    etk_alloc_stats after = etk_alloc_get_stats();
    assert_null(t);
    assert_int_equal(after.calls - before.calls, after.frees - before.frees);
    assert_string_equal(e.message, "out of memory for a tensor (8) of F32 (32 bytes)");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shapes_count_compare_and_print),
      cmocka_unit_test(impossible_shapes_have_no_element_count),
      cmocka_unit_test(element_types_have_safetensors_names),
      cmocka_unit_test(new_tensors_are_zero_and_aligned),
      cmocka_unit_test(wrapped_memory_is_released_with_the_last_reference),
      cmocka_unit_test(casts_round_once),
      cmocka_unit_test(every_half_survives_the_way_through_every_wider_type),
      cmocka_unit_test(values_at_odd_addresses_convert_alike),
      cmocka_unit_test(integers_convert_only_to_themselves),
      cmocka_unit_test(failing_allocations_leave_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// Vectors of one kind of processor, for code that is compiled once for each kind (see add_domain in
// CMakeLists.txt): KINEMA_WIDTH is the number of floats in its vector registers.
//
// Everything is in an unnamed namespace, and nothing of the standard library may be instantiated
// beside it: an inline function compiled for AVX-512 could be the one that the linker keeps for
// all.
#pragma once

#include <cstddef>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE__)
#include <xmmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace kinema {
namespace {

constexpr int kWidth = KINEMA_WIDTH;

using Vector [[gnu::vector_size(4 * KINEMA_WIDTH)]] = float;
using Integers [[gnu::vector_size(4 * KINEMA_WIDTH)]] = int;
using Bytes [[gnu::vector_size(KINEMA_WIDTH)]] = unsigned char;
using Four [[gnu::vector_size(16)]] = float;

template <class V = Vector>
inline V load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V>
inline void store(float* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}
template <class V = Vector>
inline V splat(float x) {
  return x - V{};
}
// Past the caches, for what is too large for them: memory is not read first.
inline void stream(float* p, Vector v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, v);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, v);
#elif defined(__SSE__)
  _mm_stream_ps(p, v);
#else
  store(p, v);
#endif
}
// What was streamed can be seen by other threads.
inline void end_streams() {
#if defined(__SSE__)
  _mm_sfence();
#endif
}
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// a * b + c, rounded once where the processor can. Where it is fused is said here and not left to
// the compiler (-ffp-contract=off): it would choose differently in each place that a transform is
// compiled into, and results would depend on which layers are asked for.
template <class V>
inline V multiply_add(V a, V b, V c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return _mm512_fmadd_ps(a, b, c);
#endif
#if defined(__FMA__)
  if constexpr (sizeof(V) == 32) return _mm256_fmadd_ps(a, b, c);
  if constexpr (sizeof(V) == 16) return _mm_fmadd_ps(a, b, c);
#elif defined(__ARM_NEON)
  if constexpr (sizeof(V) == 16) return vfmaq_f32(c, a, b);
#endif
  return a * b + c;
}
template <class V>
inline V multiply_add(float a, V b, V c) {
  return multiply_add(splat<V>(a), b, c);
}

constexpr int least(int a, int b) { return a < b ? a : b; }

// One byte for each lane. GCC's own conversions go lane by lane.
inline Integers load_bytes(const unsigned char* from) {
#if defined(__AVX512F__)
  return Integers(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from)));
#elif defined(__AVX2__)
  return Integers(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from)));
#else
  Bytes bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, Integers);
#endif
}
inline void store_bytes(unsigned char* to, Integers integers) {
#if defined(__AVX512F__)
  _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8(__m512i(integers)));
#elif defined(__AVX2__)
  const __m128i low = _mm256_castsi256_si128(__m256i(integers));
  const __m128i words = _mm_packus_epi32(low, _mm256_extracti128_si256(__m256i(integers), 1));
  _mm_storel_epi64((__m128i*)to, _mm_packus_epi16(words, words));
#else
  const Bytes bytes = __builtin_convertvector(integers, Bytes);
  __builtin_memcpy(to, &bytes, sizeof bytes);
#endif
}

// Four rows become four columns.
inline void transpose(Four& a, Four& b, Four& c, Four& d) {
#if defined(__SSE__)
  _MM_TRANSPOSE4_PS(a, b, c, d);
#elif defined(__ARM_NEON)
  const float32x4x2_t ab = vtrnq_f32(a, b), cd = vtrnq_f32(c, d);
  a = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
  b = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
  c = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
  d = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
#else
  const Four rows[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    a[i] = rows[i][0];
    b[i] = rows[i][1];
    c[i] = rows[i][2];
    d[i] = rows[i][3];
  }
#endif
}

}  // namespace
}  // namespace kinema

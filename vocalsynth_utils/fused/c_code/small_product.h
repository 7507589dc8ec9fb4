// The small product of every time step: a few rows times one large matrix.
//
// OpenBLAS would pack the matrix again at every step; here it is packed once per
// sequence, into panels of PANEL columns, and then only streamed.
//
//   packed (n_panels, depth, PANEL)   the columns past the last are zero
//
// A tile of C stays in registers while a panel passes: of 16 registers 6 rows x 2 vectors take 12, of 32 8 rows x 3
// take 24, which leaves some for a row of the panel and a number of A.  Panels that begin at a multiple of ALIGNMENT
// bytes are read without crossing a cache line; others give the same, more slowly.
#pragma once
#include <string.h>

#if defined(__AVX512F__)
#define INSTRUCTIONS "AVX-512"
enum { VECTOR_BYTES = 64, TILE_ROWS = 8, TILE_VECTORS = 3 };
#elif defined(__aarch64__)  // compiled, not run
#define INSTRUCTIONS "NEON"
enum { VECTOR_BYTES = 16, TILE_ROWS = 8, TILE_VECTORS = 3 };
#elif defined(__AVX__)
#if defined(__FMA__)
#define INSTRUCTIONS "AVX2"
#else
#define INSTRUCTIONS "AVX"
#endif
enum { VECTOR_BYTES = 32, TILE_ROWS = 6, TILE_VECTORS = 2 };
#else
#define INSTRUCTIONS "none wider than 16 bytes"
enum { VECTOR_BYTES = 16, TILE_ROWS = 6, TILE_VECTORS = 2 };
#endif
enum { ALIGNMENT = 64 };  // of native.aligned

// Keeps a vector in a register: a compiler would rather read it from memory again for each row.
#if defined(__x86_64__)
#define HOLD(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define HOLD(x) __asm__("" : "+w"(x))
#else
#define HOLD(x)
#endif

template <class real> struct Panel {
    typedef real vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));  // at any address
    enum { LANES = VECTOR_BYTES / sizeof(real), COLUMNS = LANES * TILE_VECTORS };
    static long count(long n_columns) { return (n_columns + COLUMNS - 1) / COLUMNS; }
    static long width(long n_columns) { return count(n_columns) * COLUMNS; }
};

// W (depth, n_columns), row stride `ld_row`, column stride `ld_column`, goes to columns
// first .. first + n_columns and rows first_row .. of `packed` with `depth_all` rows.
template <class real>
static void pack(const real *W, long depth, long n_columns, long ld_row, long ld_column,
                 long first_row, long first_column, long depth_all, real *packed)
{
    const long P = Panel<real>::COLUMNS;
    for (long j = 0; j < n_columns; ) {
        const long column = first_column + j, in_panel = column % P;
        const long run = n_columns - j < P - in_panel ? n_columns - j : P - in_panel;
        real *to = packed + (column / P * depth_all + first_row) * P + in_panel;
        for (long k = 0; k < depth; ++k)
            for (long m = 0; m < run; ++m)
                to[k * P + m] = W[k * ld_row + (j + m) * ld_column];
        j += run;
    }
}

// C (ROWS, COLUMNS) = A (ROWS, depth) panel (depth, COLUMNS) + start (ROWS, COLUMNS)
template <class real, int ROWS>
static void tile(long depth, const real *A, long ld_A, const real *panel, const real *start, long ld_start, real *C, long ld_C)
{
    typedef typename Panel<real>::vector vector;
    const vector *w = reinterpret_cast<const vector *>(panel);
    vector sum[ROWS][TILE_VECTORS];  // stays in registers
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < TILE_VECTORS; ++v) sum[r][v] = reinterpret_cast<const vector *>(start + r * ld_start)[v];
    for (long k = 0; k < depth; ++k, w += TILE_VECTORS) {
        vector now[TILE_VECTORS];
        for (int v = 0; v < TILE_VECTORS; ++v) {
            now[v] = w[v];
            HOLD(now[v]);
        }
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < TILE_VECTORS; ++v) sum[r][v] += A[r * ld_A + k] * now[v];
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < TILE_VECTORS; ++v) reinterpret_cast<vector *>(C + r * ld_C)[v] = sum[r][v];
}

template <class real, int ROWS>
static void tile_of(long rows, long depth, const real *A, long ld_A, const real *panel, const real *start, long ld_start,
                    real *C, long ld_C)
{
    if (rows == ROWS)
        tile<real, ROWS>(depth, A, ld_A, panel, start, ld_start, C, ld_C);
    else
        tile_of<real, (ROWS > 1 ? ROWS - 1 : 1)>(rows, depth, A, ld_A, panel, start, ld_start, C, ld_C);
}

// C (n_rows, width) = A (n_rows, depth) W (depth, n_columns) + start (n_rows, width), width = Panel::width(n_columns);
// ld_start 0 repeats one row, and `start` may be C.
template <class real>
static void small_product(long n_rows, long depth, long n_columns, const real *A, long ld_A, const real *packed,
                          const real *start, long ld_start, real *C, long ld_C)
{
    const long P = Panel<real>::COLUMNS, n_tiles = (n_rows + TILE_ROWS - 1) / TILE_ROWS;
    for (long p = 0; p < Panel<real>::count(n_columns); ++p)
        for (long k = 0; k < n_tiles; ++k) {  // of nearly equal height: a low one waits for its own sums
            const long row = n_rows * k / n_tiles, rows = n_rows * (k + 1) / n_tiles - row;
            tile_of<real, TILE_ROWS>(rows, depth, A + row * ld_A, ld_A, packed + p * depth * P,
                                     start + row * ld_start + p * P, ld_start, C + row * ld_C + p * P, ld_C);
        }
}

// y (n) += x (depth) W (depth, n), rows of W `ld` apart: eight rows at once keep eight streams
// from memory going, which is all that counts here.
template <class real>
static void add_row_product(long depth, long n, const real *x, const real *W, long ld, real *__restrict__ y)
{
    enum { STREAMS = 8 };
    long k = 0;
    for (; k + STREAMS <= depth; k += STREAMS) {
        const real *w = W + k * ld, *f = x + k;
        for (long j = 0; j < n; ++j)
            y[j] += ((f[0] * w[j] + f[1] * w[ld + j]) + (f[2] * w[2 * ld + j] + f[3] * w[3 * ld + j]))
                  + ((f[4] * w[4 * ld + j] + f[5] * w[5 * ld + j]) + (f[6] * w[6 * ld + j] + f[7] * w[7 * ld + j]));
    }
    for (; k < depth; ++k)
        for (long j = 0; j < n; ++j) y[j] += x[k] * W[k * ld + j];
}

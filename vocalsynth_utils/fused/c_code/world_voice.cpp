// Free running of a network of WORLD frames, several voices at once: LSTM layers, voicing, pitch,
// envelope, each frame fed back as the next input.  The weights' way from memory takes the time,
// and that they take once for all voices.
//
// A frame is log F0, voicing, then n_envelope more; what a step hears is that and n_given numbers more, given for
// each frame to come.  Random numbers come from outside, for each
// voice: uniform (n_frames, 1 + 2 n_mixtures), normal (n_frames, 1 + n_envelope).
#include "common.h"
#include "small_product.h"

struct Lstm;
extern "C" void lstm_step_f32(const Lstm *, long n_rows, const float *x, float *hid, float *cell, float *workspace);
extern "C" void mixture_draw_f32(long n_rows, long n_mixtures, long n_dims, const float *out, float min_sigma,
                                 const float *uniform, const float *normal, float temperature, float *drawn);

extern "C" {
struct VoiceLayer {  // mirrored in world_mdn/sampler.py
    const Lstm *shape;  // of one step of all voices
    float *workspace;   // from lstm_prepare_f32
    long n_units;
};
struct Dense {  // mirrored in world_mdn/sampler.py
    long n_inputs, n_outputs, rectified;
    const float *packed, *b;  // in panels, and as wide as these
    float *out;               // (n_voices, as wide)
};
struct WorldVoices {  // mirrored in world_mdn/sampler.py
    long n_layers, n_mixtures, n_envelope, n_given;
    const VoiceLayer *layers;
    const Dense *voicing, *pitch, *envelope;  // one layer, two, two
    float *given;                             // (n_voices, n_units + 2): state, voicing 0 or 1, log F0
    float *heard;                             // (n_voices, 2 + n_envelope + n_given)
    float unvoiced, voiced;                   // what 0 and 1 have become by standardising
    float min_pitch_sigma, min_sigma, voicing_temperature, pitch_temperature, envelope_temperature;
    const float *low, *high;                  // bounds of a frame, or null
};
}

static inline long width(const Dense *d) { return Panel<float>::width(d->n_outputs); }

static const float *dense(const Dense *d, long n_rows, const float *x, long ld_x)
{
    const long wide = width(d);
    small_product(n_rows, d->n_inputs, d->n_outputs, x, ld_x, d->packed, d->b, 0, d->out, wide);
    if (d->rectified)
        for (long j = 0; j < n_rows * wide; ++j) d->out[j] = d->out[j] < 0 ? 0 : d->out[j];
    return d->out;
}

static const float *two_dense(const Dense *d, long n_rows, const float *x, long ld_x)
{
    return dense(d + 1, n_rows, dense(d, n_rows, x, ld_x), width(d));
}

// n of the voices: frame (n, 2 + n_envelope), the newest, and hid, cell of each layer (n, n_units), all carried on;
// more (n, n_frames, n_given), or null; frames (n, n_frames, 2 + n_envelope)
extern "C" void world_voices_f32(const WorldVoices *v, long n, long n_frames, float *frame, float *const *hid, float *const *cell,
                                 const float *uniform, const float *normal, const float *more, float *frames)
{
    const long K = v->n_mixtures, wide = 2 + v->n_envelope, H = v->layers[v->n_layers - 1].n_units;
    for (long t = 0; t < n_frames; ++t) {
        const float *x = frame;
        if (v->n_given) {
            for (long r = 0; r < n; ++r) {
                memcpy(v->heard + r * (wide + v->n_given), frame + r * wide, wide * sizeof(float));
                memcpy(v->heard + r * (wide + v->n_given) + wide, more + (r * n_frames + t) * v->n_given, v->n_given * sizeof(float));
            }
            x = v->heard;
        }
        for (long l = 0; l < v->n_layers; ++l) {
            lstm_step_f32(v->layers[l].shape, n, x, hid[l], cell[l], v->layers[l].workspace);
            x = hid[l];
        }
        for (long r = 0; r < n; ++r) memcpy(v->given + r * (H + 2), x + r * H, H * sizeof(float));
        const float *logits = dense(v->voicing, n, v->given, H + 2);
        for (long r = 0; r < n; ++r) {
            const float voiced = uniform[(r * n_frames + t) * (1 + 2 * K)] < 1 / (1 + expf(-logits[r * width(v->voicing)] / v->voicing_temperature)) ? 1 : 0;
            v->given[r * (H + 2) + H] = voiced;
            v->given[r * (H + 2) + H + 1] = frame[r * wide];
        }
        const float *steps = two_dense(v->pitch, n, v->given, H + 2);
        for (long r = 0; r < n; ++r) {
            const long at = r * n_frames + t;
            float *given = v->given + r * (H + 2) + H, step;
            mixture_draw_f32(1, K, 1, steps + r * width(v->pitch + 1), v->min_pitch_sigma, uniform + at * (1 + 2 * K) + 1, normal + at * (wide - 1),
                             v->pitch_temperature, &step);
            // a step where voice goes on, the pitch itself where it begins, the last one where there is none
            if (given[0] > 0) given[1] = (frame[r * wide + 1] > 0 ? given[1] : 0) + step;
        }
        const float *envelopes = two_dense(v->envelope, n, v->given, H + 2);
        for (long r = 0; r < n; ++r) {
            const long at = r * n_frames + t;
            const float *given = v->given + r * (H + 2) + H;
            float *now = frames + at * wide;
            now[0] = given[1];
            now[1] = v->unvoiced + given[0] * (v->voiced - v->unvoiced);
            mixture_draw_f32(1, K, v->n_envelope, envelopes + r * width(v->envelope + 1), v->min_sigma, uniform + at * (1 + 2 * K) + 1 + K,
                             normal + at * (wide - 1) + 1, v->envelope_temperature, now + 2);
            if (v->low)
                for (long j = 0; j < wide; ++j) now[j] = now[j] < v->low[j] ? v->low[j] : now[j] > v->high[j] ? v->high[j] : now[j];
            memcpy(frame + r * wide, now, wide * sizeof(float));
        }
    }
}

// Free running of a network of WORLD frames, one voice: LSTM layers, voicing, pitch, envelope,
// each frame fed back as the next input.  Nothing but the weights' way from memory takes time.
//
// A frame is log F0, voicing, then n_envelope more.  Random numbers come from outside:
// uniform (n_frames, 1 + 2 n_mixtures), normal (n_frames, 1 + n_envelope).
#include "common.h"
#include "small_product.h"

struct Lstm;
extern "C" int lstm_forward_f32(const Lstm *, const float *x, const float *const *W_in, const float *const *W_hid,
                                const float *const *bias, const float *const *w_cell, const float *hid_init,
                                const float *cell_init, float *gates, float *hid, float *cell, float *workspace);
extern "C" void mixture_draw_f32(long n_rows, long n_mixtures, long n_dims, const float *out, float min_sigma,
                                 const float *uniform, const float *normal, float temperature, float *drawn);

extern "C" {
struct VoiceLayer {  // mirrored by fused_voice._Layer
    const Lstm *shape;  // of one step of one sequence
    const float *const *W_in, *const *W_hid, *const *bias, *const *w_cell;
    float *hid, *cell;  // (n_units): the state, carried on
    float *scratch;     // (6 n_units): gates, and the new state
    float *workspace;
    long n_units;
};
struct Dense {  // mirrored by fused_voice._Dense
    long n_inputs, n_outputs, rectified;
    const float *W, *b;
    float *out;
};
struct WorldVoice {  // mirrored by fused_voice._Voice
    long n_layers, n_mixtures, n_envelope;
    const VoiceLayer *layers;
    const Dense *voicing, *pitch, *envelope;  // one layer, two, two
    float *given;                             // (n_units + 2): state, voicing 0 or 1, log F0
    float unvoiced, voiced;                   // what 0 and 1 have become by standardising
    float min_pitch_sigma, min_sigma, pitch_temperature, temperature;
    const float *low, *high;                  // bounds of a frame, or null
};
}

static const float *dense(const Dense *d, const float *x)
{
    memcpy(d->out, d->b, d->n_outputs * sizeof(float));
    add_row_product(d->n_inputs, d->n_outputs, x, d->W, d->n_outputs, d->out);
    if (d->rectified)
        for (long j = 0; j < d->n_outputs; ++j) d->out[j] = d->out[j] < 0 ? 0 : d->out[j];
    return d->out;
}

// frame (2 + n_envelope): the newest, carried on; frames (n_frames, 2 + n_envelope)
extern "C" void world_voice_f32(const WorldVoice *v, long n_frames, float *frame, const float *uniform, const float *normal, float *frames)
{
    const long n = v->layers[v->n_layers - 1].n_units, K = v->n_mixtures, width = 2 + v->n_envelope;
    for (long i = 0; i < n_frames; ++i, uniform += 1 + 2 * K, normal += width - 1, frames += width) {
        const float *x = frame;
        for (long l = 0; l < v->n_layers; ++l) {
            const VoiceLayer *a = v->layers + l;
            const long m = a->n_units;
            float *hid = a->scratch + 4 * m, *cell = hid + m;
            lstm_forward_f32(a->shape, x, a->W_in, a->W_hid, a->bias, a->w_cell, a->hid, a->cell, a->scratch, hid, cell, a->workspace);
            memcpy(a->hid, hid, m * sizeof(float));
            memcpy(a->cell, cell, m * sizeof(float));
            x = a->hid;
        }
        memcpy(v->given, x, n * sizeof(float));
        const float logit = *dense(v->voicing, v->given) / v->temperature;
        const float voiced = uniform[0] < 1 / (1 + expf(-logit)) ? 1 : 0;
        v->given[n] = voiced;
        v->given[n + 1] = frame[0];
        float step;
        mixture_draw_f32(1, K, 1, dense(v->pitch + 1, dense(v->pitch, v->given)), v->min_pitch_sigma, uniform + 1, normal,
                         v->pitch_temperature, &step);
        v->given[n + 1] += voiced * step;
        frames[0] = v->given[n + 1];
        frames[1] = v->unvoiced + voiced * (v->voiced - v->unvoiced);
        mixture_draw_f32(1, K, v->n_envelope, dense(v->envelope + 1, dense(v->envelope, v->given)), v->min_sigma, uniform + 1 + K,
                         normal + 1, v->temperature, frames + 2);
        if (v->low)
            for (long j = 0; j < width; ++j)
                frames[j] = frames[j] < v->low[j] ? v->low[j] : frames[j] > v->high[j] ? v->high[j] : frames[j];
        memcpy(frame, frames, width * sizeof(float));
    }
}

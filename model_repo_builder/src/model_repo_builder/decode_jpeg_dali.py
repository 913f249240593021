"""Runs in Triton's DALI backend: pictures' bytes to frames of the network's size, decoded by the GPU.

Copied into repositories as it is, but for the size; DALI writes its pipeline down when the model is loaded.
"""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.triton import autoserialize

HEIGHT, WIDTH = 640, 640
PADDING = 114


@autoserialize
@pipeline_def(batch_size=256, num_threads=4, device_id=0)
def pipeline():  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Letterbox: scaled to fit, centred on grey; geometry is scale, left, top, width, height."""
    jpeg = fn.external_source(device="cpu", name="jpeg", ndim=1, dtype=types.UINT8)
    shape = fn.cast(fn.peek_image_shape(jpeg), dtype=types.FLOAT)
    height, width = shape[0], shape[1]
    scale = fn.reductions.min(fn.stack(HEIGHT / height, WIDTH / width))
    picture = fn.decoders.image(jpeg, device="mixed", output_type=types.RGB)
    fitted = fn.stack(fn.cast(height * scale + 0.5, dtype=types.INT32), fn.cast(width * scale + 0.5, dtype=types.INT32))
    sized = fn.resize(
        picture, size=fn.cast(fitted, dtype=types.FLOAT), interp_type=types.INTERP_LINEAR, antialias=False
    )
    frames = fn.crop(
        sized, crop=(HEIGHT, WIDTH), crop_pos_x=0.5, crop_pos_y=0.5, out_of_bounds_policy="pad", fill_values=PADDING
    )
    spare = fn.stack(WIDTH - fn.cast(fitted[1], dtype=types.FLOAT), HEIGHT - fn.cast(fitted[0], dtype=types.FLOAT))
    corner = fn.cast(spare / 2, dtype=types.INT32)
    geometry = fn.stack(
        scale, fn.cast(corner[0], dtype=types.FLOAT), fn.cast(corner[1], dtype=types.FLOAT), width, height
    )
    return frames, fn.copy(geometry, name="geometry")

"""The TensorFlow backend keeps every promise that dmin asks of a backend."""

import logging
import types

import tensorflow as tf

from dmin_core.testing import BackendTests


class TestTensorFlow(BackendTests):
    backend = "tf"
    xp = types.SimpleNamespace(sum=tf.reduce_sum, exp=tf.exp, log=tf.math.log)
    exact_gradient = True
    exact_hvp = True
    compiles = True
    dtypes = ("bfloat16", "float16", "float32", "float64")

    def array(self, values, dtype):
        return tf.constant(values, dtype=dtype)

    def state(self):
        return (
            tf.executing_eagerly(),
            tf.config.functions_run_eagerly(),
            tf.keras.config.floatx(),
            tf.config.threading.get_inter_op_parallelism_threads(),
            tf.config.threading.get_intra_op_parallelism_threads(),
            tf.config.get_soft_device_placement(),
            tf.config.optimizer.get_experimental_options(),
            tf.config.optimizer.get_jit(),
            tf.random.get_global_generator().state.numpy().tolist(),
            logging.getLogger("tensorflow").level,
        )

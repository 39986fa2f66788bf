//! The verbs of virga ring: library and text output.

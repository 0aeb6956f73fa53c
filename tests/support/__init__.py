"""What tests are made of: real server processes, real model files, pictures, certificates."""

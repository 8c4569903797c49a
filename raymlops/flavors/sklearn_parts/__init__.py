"""What scikit-learn's flavor needs: calibrations, encoders, vectorizers, and files of skops."""

"""The way to Azure IoT Hub: envelope, SDK child process and what comes back."""

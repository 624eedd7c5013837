typedef struct {
	ProtobufCMessage base;
	char *name;
} Helloworld__HelloRequest;
typedef struct {
	ProtobufCMessage base;
	char *message;
} Helloworld__HelloReply;
extern const ProtobufCMessageDescriptor helloworld__hello_request__descriptor;
#define HELLOWORLD__HELLO_REPLY__INIT \
	{                             \
		{ 0 }, 0              \
	}
